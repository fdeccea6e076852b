#include "client.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>
#include <openssl/crypto.h>

#define PATH_BEGIN "/2015-03-31/functions/"
#define PATH_END "/invocations"
#define PAUSE_MS 100
#define TOKEN_HEADER "X-Amz-Security-Token: "

enum { KEEP_GOING, NO_MORE, AT_ONCE };
enum { HEADER_TYPE, HEADER_INVOCATION, HEADER_EXPECT, HEADER_DATE, HEADER_AUTHORIZATION, HEADER_TOKEN, HEADERS };

/* One connection's worth of work: an easy handle that serves launch after launch. */
typedef struct {
    CURL *easy;
    size_t index;
    bool active;
    char *url;
    char *payload; /* of its own, where a mark was replaced */
    size_t payload_room;
    struct curl_slist headers[HEADERS];
    char date[40];
    char authorization[600];
    bool headers_done;
    bool too_much;
    size_t taken, kept;
    char body[CLIENT_BODY_KEPT];
    char error_type[128];
    double retry_after;
    double started;
    char fault[CURL_ERROR_SIZE];
} slot;

struct client {
    signer signer;
    CURLM *multi;
    char *base; /* scheme, host, port and path, without a slash at its end */
    size_t path_at;
    char host[300];
    slot *slots;
    int pool_size;
    atomic_int cancelled;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static char *copy(const char *text, size_t size)
{
    char *made = malloc(size + 1);
    if (made) {
        memcpy(made, text, size);
        made[size] = '\0';
    }
    return made;
}

/* -- what comes back ------------------------------------------------------------------------------------------- */

static size_t take_body(char *data, size_t one, size_t size, void *context)
{
    slot *self = context;
    (void)one;
    size_t room = sizeof self->body - self->kept;
    size_t kept = size < room ? size : room;
    memcpy(self->body + self->kept, data, kept);
    self->kept += kept;
    self->taken += size;
    if (self->taken > CLIENT_BODY_TAKEN) {
        self->too_much = true;
        return 0;
    }
    return size;
}

/* The value of the header, if it has this name, without the blanks around it. */
static bool header_value(const char *data, size_t size, const char *name, char *value, size_t room)
{
    size_t length = strlen(name);
    if (size <= length || data[length] != ':' || strncasecmp(data, name, length) != 0)
        return false;
    const char *end = data + size;
    for (data += length + 1; data < end && (*data == ' ' || *data == '\t'); data++)
        ;
    while (end > data && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t'))
        end--;
    size_t used = (size_t)(end - data) < room - 1 ? (size_t)(end - data) : room - 1;
    memcpy(value, data, used);
    value[used] = '\0';
    return true;
}

static size_t take_header(char *data, size_t one, size_t size, void *context)
{
    slot *self = context;
    char value[32];
    (void)one;
    if (size >= 5 && memcmp(data, "HTTP/", 5) == 0) {
        self->headers_done = false;
        self->error_type[0] = '\0';
        self->retry_after = -1;
    } else if (size <= 2) {
        self->headers_done = true;
    } else if (header_value(data, size, "x-amzn-ErrorType", self->error_type, sizeof self->error_type)) {
        /* AWS puts the address of an XML namespace behind a colon. What is no name is not kept. */
        self->error_type[strspn(self->error_type, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._")] =
            '\0';
    } else if (header_value(data, size, "Retry-After", value, sizeof value)) {
        char *end;
        double seconds = strtod(value, &end);
        if (end != value && *end == '\0' && seconds >= 0)
            self->retry_after = seconds < 3600 ? seconds : 3600;
    }
    return size;
}

void launch_answer_clear(launch_answer *self)
{
    free(self->reason);
    free(self->error_type);
    free(self->body);
    memset(self, 0, sizeof *self);
}

static void finish(launch_batch *batch, size_t index)
{
    batch->finished[batch->done++] = index;
}

static void refuse(launch_batch *batch, size_t index, long status, const char *reason)
{
    launch_answer *answer = &batch->answers[index];
    answer->status = status;
    answer->retry_after = -1;
    answer->reason = copy(reason, strlen(reason));
    finish(batch, index);
}

static void note_times(const slot *self, double times[TIMES])
{
    static const CURLINFO infos[TIMES] = {
        [TIME_CONNECTED] = CURLINFO_CONNECT_TIME_T,
        [TIME_SECURED] = CURLINFO_APPCONNECT_TIME_T,
        [TIME_FIRST_BYTE] = CURLINFO_STARTTRANSFER_TIME_T,
        [TIME_TOTAL] = CURLINFO_TOTAL_TIME_T,
    };
    times[TIME_STARTED] = self->started;
    for (int at = TIME_CONNECTED; at < TIMES; at++) {
        curl_off_t microseconds = 0;
        curl_easy_getinfo(self->easy, infos[at], &microseconds);
        times[at] = (double)microseconds / 1e6;
    }
}

static bool is_hopeless(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_URL_MALFORMAT ||
           code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_ENGINE_NOTFOUND;
}

static void answered(slot *self, launch_batch *batch, CURLcode code)
{
    launch_answer *answer = &batch->answers[self->index];
    note_times(self, answer->times);
    answer->retry_after = self->retry_after;
    if (self->headers_done)
        curl_easy_getinfo(self->easy, CURLINFO_RESPONSE_CODE, &answer->status);
    if (!self->headers_done || answer->status < 200) {
        answer->status = is_hopeless(code) ? ANSWER_NEVER : ANSWER_NONE;
        const char *fault = code == CURLE_OK ? "the endpoint did not answer in HTTP"
                            : *self->fault   ? self->fault
                                             : curl_easy_strerror(code);
        answer->reason = copy(fault, strlen(fault));
    } else if (answer->status != 202) {
        answer->error_type = copy(self->error_type, strlen(self->error_type));
        answer->body = copy(self->body, self->kept);
        answer->body_size = answer->body ? self->kept : 0;
    }
    finish(batch, self->index);
}

/* -- what goes out --------------------------------------------------------------------------------------------- */

static char *put(char *at, const char *text)
{
    size_t length = strlen(text);
    memcpy(at, text, length + 1);
    return at + length;
}

static bool write_url(const client *self, slot *into, const char *function)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t length = strlen(function);
    if (length == 0 || length > CLIENT_LONGEST_FUNCTION || strcmp(function, ".") == 0 || strcmp(function, "..") == 0)
        return false;
    char *at = put(put(into->url, self->base), PATH_BEGIN);
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

static const char *find_mark(const char *text, const char *end)
{
    const size_t length = sizeof CLIENT_MARK - 1;
    while ((size_t)(end - text) >= length) {
        text = memchr(text, CLIENT_MARK[0], (size_t)(end - text) - length + 1);
        if (!text || memcmp(text, CLIENT_MARK, length) == 0)
            return text;
        text++;
    }
    return NULL;
}

/* The payload with the id in the place of every mark: as it is where there is none, else in memory of the slot. */
static const char *write_payload(slot *self, const launch_request *request, size_t *size)
{
    const size_t length = sizeof CLIENT_MARK - 1;
    const char *end = request->payload + request->payload_size;
    size_t marks = 0;
    for (const char *at = request->payload; (at = find_mark(at, end)); at += length)
        marks++;
    *size = request->payload_size;
    if (marks == 0)
        return request->payload;
    *size = request->payload_size - marks * length + marks * request->id_size;
    if (*size > self->payload_room) {
        char *more = realloc(self->payload, *size);
        if (!more)
            return NULL;
        self->payload = more;
        self->payload_room = *size;
    }
    char *into = self->payload;
    const char *from = request->payload;
    for (const char *at; (at = find_mark(from, end)); from = at + length) {
        memcpy(into, from, (size_t)(at - from));
        into += at - from;
        memcpy(into, request->id, request->id_size);
        into += request->id_size;
    }
    memcpy(into, from, (size_t)(end - from));
    return self->payload;
}

/* Send one launch by this slot, or answer it at once where it cannot be sent. */
static void start(client *self, slot *by, const credentials *keys, launch_batch *batch, size_t index, double since)
{
    const launch_request *request = &batch->requests[index];
    signature made;
    size_t size;
    if (!write_url(self, by, request->function)) {
        refuse(batch, index, ANSWER_NEVER, "no function has such a name");
        return;
    }
    const char *payload = write_payload(by, request, &size);
    if (!payload || !signer_sign(&self->signer, keys, time(NULL), self->host, by->url + self->path_at, payload, size,
                                 &made)) {
        refuse(batch, index, ANSWER_NONE, "the request could not be signed");
        return;
    }
    snprintf(by->date, sizeof by->date, "X-Amz-Date: %s", made.date);
    snprintf(by->authorization, sizeof by->authorization, "Authorization: %s", made.authorization);
    by->index = index;
    by->headers_done = by->too_much = false;
    by->taken = by->kept = 0;
    by->error_type[0] = by->fault[0] = '\0';
    by->retry_after = -1;
    by->started = now() - since;
    if (curl_easy_setopt(by->easy, CURLOPT_URL, by->url) != CURLE_OK ||
        curl_easy_setopt(by->easy, CURLOPT_POSTFIELDS, payload) != CURLE_OK ||
        curl_easy_setopt(by->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size) != CURLE_OK ||
        curl_multi_add_handle(self->multi, by->easy) != CURLM_OK)
        refuse(batch, index, ANSWER_NONE, "libcurl did not take the request");
    else
        by->active = true;
}

static void stop(client *self, slot *at)
{
    curl_multi_remove_handle(self->multi, at->easy);
    at->active = false;
}

static bool collect(client *self, launch_batch *batch)
{
    CURLMsg *message;
    int left;
    bool any = false;
    while ((message = curl_multi_info_read(self->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        char *found = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &found);
        slot *by = (slot *)(void *)found;
        answered(by, batch, code);
        stop(self, by);
        any = true;
    }
    return any;
}

/* What carries the session token, as a header in memory that is wiped afterwards; with no token the list ends before. */
static bool lend_token(client *self, const credentials *keys, char **header, size_t *size)
{
    *header = NULL;
    *size = 0;
    if (keys->token) {
        *size = sizeof TOKEN_HEADER + strlen(keys->token);
        *header = OPENSSL_malloc(*size);
        if (!*header)
            return false;
        put(put(*header, TOKEN_HEADER), keys->token);
    }
    for (int at = 0; at < self->pool_size; at++) {
        struct curl_slist *headers = self->slots[at].headers;
        headers[HEADER_TOKEN].data = *header;
        headers[HEADER_AUTHORIZATION].next = *header ? &headers[HEADER_TOKEN] : NULL;
    }
    return true;
}

static bool start_more(client *self, const credentials *keys, launch_batch *batch, size_t *next, double since)
{
    bool any = false;
    for (int at = 0; at < self->pool_size && *next < batch->size; at++)
        while (!self->slots[at].active && *next < batch->size) {
            start(self, &self->slots[at], keys, batch, (*next)++, since);
            any = true;
        }
    return any;
}

bool client_perform(client *self, const char *region, const credentials *keys, launch_batch *batch,
                    client_pause pause, void *context)
{
    char *token;
    size_t token_size, next = 0;
    signer_set_region(&self->signer, region);
    bool going = lend_token(self, keys, &token, &token_size);
    double since = now(), paused = since;
    while (going && batch->done < batch->size) {
        int order = atomic_load(&self->cancelled), running;
        if (order != KEEP_GOING)
            while (next < batch->size)
                refuse(batch, next++, ANSWER_CANCELLED, "cancelled before it was sent");
        for (int at = 0; order == AT_ONCE && at < self->pool_size; at++)
            if (self->slots[at].active) {
                stop(self, &self->slots[at]);
                refuse(batch, self->slots[at].index, ANSWER_CANCELLED, "cancelled before the answer came");
            }
        start_more(self, keys, batch, &next, since);
        if (curl_multi_perform(self->multi, &running) != CURLM_OK) {
            going = false;
            break;
        }
        bool any = collect(self, batch);
        double time = now();
        if (batch->done < batch->size && (time - paused) * 1000 >= PAUSE_MS) {
            paused = time;
            going = pause(context);
        }
        if (going && !any && batch->done < batch->size &&
            curl_multi_poll(self->multi, NULL, 0, PAUSE_MS, NULL) != CURLM_OK)
            going = false;
    }
    for (int at = 0; at < self->pool_size; at++)
        if (self->slots[at].active)
            stop(self, &self->slots[at]);
    if (token)
        OPENSSL_clear_free(token, token_size);
    return going;
}

void client_cancel(client *self, bool at_once)
{
    int order = at_once ? AT_ONCE : NO_MORE, known = atomic_load(&self->cancelled);
    while (known < order && !atomic_compare_exchange_weak(&self->cancelled, &known, order))
        ;
    curl_multi_wakeup(self->multi);
}

/* -- making and ending ----------------------------------------------------------------------------------------- */

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

/* Split the endpoint into what requests and signatures need; why it is none, or NULL. */
static const char *read_endpoint(client *self, const char *endpoint)
{
    const char *host = strncmp(endpoint, "https://", 8) == 0  ? endpoint + 8
                       : strncmp(endpoint, "http://", 7) == 0 ? endpoint + 7
                                                              : NULL;
    if (!host)
        return "it does not begin with https://";
    bool plain = host == endpoint + 7;
    size_t authority = strcspn(host, "/"), length = strlen(endpoint);
    for (const char *at = endpoint; *at; at++)
        if (*at <= ' ' || *at > '~' || strchr("?#@\\%\"<>^`{|}", *at))
            return "only https://HOST[:PORT][/PATH] is one";
    if (strstr(host, "//") || strstr(host, "/."))
        return "its path has an empty part or begins a part with a dot";
    while (length > 0 && endpoint[length - 1] == '/')
        length--;
    if (authority == 0 || authority >= sizeof self->host)
        return "it has no host";
    self->base = copy(endpoint, length);
    if (!self->base)
        return "no memory is left";
    self->path_at = (size_t)(host - endpoint) + authority;
    for (size_t at = 0; at < self->path_at; at++)
        if (self->base[at] >= 'A' && self->base[at] <= 'Z')
            self->base[at] = (char)(self->base[at] + 32);
    memcpy(self->host, self->base + (host - endpoint), authority);
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

static bool set_up(client *self, slot *at, const client_options *options)
{
    static char type[] = "Content-Type: " SIGV4_CONTENT_TYPE, expect[] = "Expect:",
                invocation[] = "X-Amz-Invocation-Type: " SIGV4_INVOCATION_TYPE;
    char *const texts[HEADERS] = {type, invocation, expect, at->date, at->authorization, NULL};
    for (int header = 0; header < HEADERS; header++) {
        at->headers[header].data = texts[header];
        at->headers[header].next = header + 1 < HEADERS ? &at->headers[header + 1] : NULL;
    }
    at->url = malloc(strlen(self->base) + sizeof PATH_BEGIN + sizeof PATH_END + 3 * CLIENT_LONGEST_FUNCTION);
    at->easy = curl_easy_init();
    if (!at->url || !at->easy)
        return false;
#define SET(option, value) (curl_easy_setopt(at->easy, CURLOPT_##option, value) == CURLE_OK)
    bool done = SET(PRIVATE, at) && SET(ERRORBUFFER, at->fault) && SET(HTTPHEADER, at->headers) && SET(POST, 1L) &&
                SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) && SET(USERAGENT, "mu-twisted") && SET(NOSIGNAL, 1L) &&
                SET(FOLLOWLOCATION, 0L) && SET(SSL_VERIFYPEER, 1L) && SET(SSL_VERIFYHOST, 2L) &&
                SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) && SET(NETRC, (long)CURL_NETRC_IGNORED) &&
                SET(PROXY, options->proxy ? options->proxy : "") && SET(TCP_KEEPALIVE, 1L) && SET(PATH_AS_IS, 1L) &&
                SET(WRITEFUNCTION, take_body) && SET(WRITEDATA, at) && SET(HEADERFUNCTION, take_header) &&
                SET(HEADERDATA, at) && SET(UPLOAD_BUFFERSIZE, 16384L) && SET(BUFFERSIZE, 16384L) &&
                SET(CONNECTTIMEOUT_MS, (long)(options->connect_timeout * 1000)) &&
                SET(TIMEOUT_MS, (long)(options->timeout * 1000));
    if (options->ca_bundle)
        done = done && SET(CAINFO, options->ca_bundle);
    curl_easy_setopt(at->easy, CURLOPT_CAPATH, NULL); /* with a directory, libcurl would read the file once a connection */
#undef SET
    return done;
}

client *client_new(const client_options *options, char *fault, size_t fault_size)
{
    client *self = calloc(1, sizeof *self);
    const char *wrong = NULL;
    if (!self) {
        snprintf(fault, fault_size, "no memory is left");
        return NULL;
    }
    atomic_init(&self->cancelled, KEEP_GOING);
    if ((wrong = read_endpoint(self, options->endpoint)))
        snprintf(fault, fault_size, "%.200s is no endpoint: %s",
                 strchr(options->endpoint, '@') ? "what is given" : options->endpoint, wrong);
    else if (!signer_init(&self->signer) || !(self->multi = curl_multi_init()) ||
             !(self->slots = calloc((size_t)options->pool_size, sizeof *self->slots)))
        snprintf(fault, fault_size, "no memory is left");
    else {
        self->pool_size = options->pool_size;
        curl_multi_setopt(self->multi, CURLMOPT_MAXCONNECTS, (long)options->pool_size);
        curl_multi_setopt(self->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
        for (int at = 0; at < options->pool_size; at++)
            if (!set_up(self, &self->slots[at], options)) {
                snprintf(fault, fault_size, "libcurl does not take these options");
                client_free(self);
                return NULL;
            }
        return self;
    }
    client_free(self);
    return NULL;
}

void client_free(client *self)
{
    if (!self)
        return;
    for (int at = 0; self->slots && at < self->pool_size; at++) {
        curl_easy_cleanup(self->slots[at].easy);
        free(self->slots[at].url);
        if (self->slots[at].payload) {
            OPENSSL_cleanse(self->slots[at].payload, self->slots[at].payload_room);
            free(self->slots[at].payload);
        }
    }
    free(self->slots);
    curl_multi_cleanup(self->multi);
    signer_clear(&self->signer);
    free(self->base);
    OPENSSL_cleanse(self, sizeof *self);
    free(self);
}
