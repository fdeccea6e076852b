#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#define PATH_BEGIN "/2015-03-31/functions/"
#define PATH_END "/invocations"
#define HEAD                                                                                              \
    "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: mu-twisted\r\nAccept: */*\r\nContent-Type: " SIGV4_CONTENT_TYPE \
    "\r\nX-Amz-Invocation-Type: " SIGV4_INVOCATION_TYPE "\r\nX-Amz-Date: %s\r\nAuthorization: %s\r\n%s%s%s"     \
    "Content-Length: %zu\r\n\r\n"
#define TOKEN_HEADER "X-Amz-Security-Token: "

static char *put(char *at, const char *text)
{
    size_t length = strlen(text);
    memcpy(at, text, length + 1);
    return at + length;
}

/* -- where ----------------------------------------------------------------------------------------------------- */

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

const char *endpoint_read(endpoint *self, const char *url)
{
    const char *host = strncmp(url, "https://", 8) == 0 ? url + 8 : strncmp(url, "http://", 7) == 0 ? url + 7 : NULL;
    if (!host)
        return "it does not begin with https://";
    bool plain = host == url + 7;
    size_t authority = strcspn(host, "/"), length = strlen(url);
    for (const char *at = url; *at; at++)
        if (*at <= ' ' || *at > '~' || strchr("?#@\\%\"<>^`{|}", *at))
            return "only https://HOST[:PORT][/PATH] is one";
    if (strstr(host, "//") || strstr(host, "/."))
        return "its path has an empty part or begins a part with a dot";
    while (length > 0 && url[length - 1] == '/')
        length--;
    if (authority == 0 || authority >= sizeof self->host)
        return "it has no host";
    self->base = malloc(length + 1);
    if (!self->base)
        return "no memory is left";
    memcpy(self->base, url, length);
    self->base[length] = '\0';
    self->path_at = (size_t)(host - url) + authority;
    for (size_t at = 0; at < self->path_at; at++)
        if (self->base[at] >= 'A' && self->base[at] <= 'Z')
            self->base[at] = (char)(self->base[at] + 32);
    memcpy(self->host, self->base + (host - url), authority);
    self->host[authority] = '\0';
    char *colon = strrchr(self->host, ':');
    if (colon && strchr(colon, ']'))
        colon = NULL;
    if (colon) {
        char *end;
        long port = strtol(colon + 1, &end, 10);
        if (colon == self->host || end == colon + 1 || *end || colon[1] == '+' || colon[1] == '-' || port < 1 ||
            port > 65535)
            return "its port is no number from 1 to 65535";
        if (port == (plain ? 80 : 443))
            *colon = '\0';
    }
    char bare[sizeof self->host];
    put(bare, self->host);
    if (colon)
        bare[colon - self->host] = '\0';
    if (plain && !is_loopback(bare))
        return "plain http is for this machine's loopback only";
    return NULL;
}

void endpoint_clear(endpoint *self)
{
    free(self->base);
    self->base = NULL;
}

size_t endpoint_room(const endpoint *self)
{
    return strlen(self->base + self->path_at) + sizeof PATH_BEGIN + sizeof PATH_END + 3 * REQUEST_LONGEST_FUNCTION;
}

bool endpoint_path(const endpoint *self, const char *function, char *into)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t length = strlen(function);
    if (length == 0 || length > REQUEST_LONGEST_FUNCTION || strcmp(function, ".") == 0 || strcmp(function, "..") == 0)
        return false;
    char *at = put(put(into, self->base + self->path_at), PATH_BEGIN);
    for (; *function; function++) {
        unsigned char byte = (unsigned char)*function;
        if ((byte | 32) >= 'a' && (byte | 32) <= 'z')
            *at++ = (char)byte;
        else if ((byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.' || byte == '~')
            *at++ = (char)byte;
        else {
            *at++ = '%';
            *at++ = digits[byte >> 4];
            *at++ = digits[byte & 15];
        }
    }
    put(at, PATH_END);
    return true;
}

/* -- what ------------------------------------------------------------------------------------------------------ */

static const char *find_mark(const char *text, const char *end)
{
    const size_t length = sizeof REQUEST_MARK - 1;
    while ((size_t)(end - text) >= length) {
        text = memchr(text, REQUEST_MARK[0], (size_t)(end - text) - length + 1);
        if (!text || memcmp(text, REQUEST_MARK, length) == 0)
            return text;
        text++;
    }
    return NULL;
}

static bool make_room(request_buffer *self, size_t size)
{
    if (size <= self->room)
        return true;
    request_clear(self);
    self->data = malloc(size);
    self->room = self->data ? size : 0;
    return self->data != NULL;
}

bool request_put_body(request_buffer *self, const launch_request *request, size_t head_room)
{
    const size_t length = sizeof REQUEST_MARK - 1;
    const char *end = request->payload + request->payload_size;
    size_t marks = 0;
    for (const char *at = request->payload; (at = find_mark(at, end)); at += length)
        marks++;
    size_t size = request->payload_size - marks * length + marks * request->id_size;
    if (!make_room(self, head_room + size))
        return false;
    self->head = self->body = head_room;
    self->end = head_room + size;
    char *into = self->data + head_room;
    const char *from = request->payload;
    for (const char *at; (at = find_mark(from, end)); from = at + length) {
        memcpy(into, from, (size_t)(at - from));
        into += at - from;
        memcpy(into, request->id, request->id_size);
        into += request->id_size;
    }
    memcpy(into, from, (size_t)(end - from));
    return true;
}

size_t request_head_room(const endpoint *to, const char *token)
{
    return sizeof HEAD + endpoint_room(to) + sizeof to->host + sizeof(signature) + 20 +
           (token ? sizeof TOKEN_HEADER + strlen(token) + 2 : 0);
}

bool request_put_head(request_buffer *self, const endpoint *to, const char *path, const signature *made,
                      const char *token)
{
    int size = snprintf(self->data, self->body, HEAD, path, to->host, made->date, made->authorization,
                        token ? TOKEN_HEADER : "", token ? token : "", token ? "\r\n" : "", self->end - self->body);
    if (size < 0 || (size_t)size >= self->body)
        return false;
    self->head = self->body - (size_t)size;
    memmove(self->data + self->head, self->data, (size_t)size);
    return true;
}

void request_clear(request_buffer *self)
{
    if (self->data)
        OPENSSL_cleanse(self->data, self->room);
    free(self->data);
    memset(self, 0, sizeof *self);
}
