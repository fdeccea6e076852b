#include "connection.h"

#include <stdio.h>
#include <string.h>

#include <openssl/ssl.h>

/* -- together -------------------------------------------------------------------------------------------------- */

bool connection_group_init(connection_group *self, int most)
{
    self->multi = curl_multi_init();
    self->sessions = curl_share_init();
    return self->multi && self->sessions &&
           curl_share_setopt(self->sessions, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) == CURLSHE_OK &&
           curl_multi_setopt(self->multi, CURLMOPT_MAXCONNECTS, (long)most) == CURLM_OK;
}

void connection_group_clear(connection_group *self)
{
    curl_multi_cleanup(self->multi);
    curl_share_cleanup(self->sessions);
    memset(self, 0, sizeof *self);
}

bool connection_group_wait(connection_group *self, int descriptor, int milliseconds)
{
    struct curl_waitfd also = {.fd = descriptor, .events = CURL_WAIT_POLLIN};
    return curl_multi_poll(self->multi, &also, 1, milliseconds, NULL) == CURLM_OK;
}

bool connection_group_proceed(connection_group *self)
{
    int running;
    return curl_multi_perform(self->multi, &running) == CURLM_OK;
}

connection *connection_group_next(connection_group *self, CURLcode *code)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(self->multi, &left))) {
        char *found = NULL;
        curl_socket_t descriptor = CURL_SOCKET_BAD;
        if (message->msg != CURLMSG_DONE)
            continue;
        *code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &found);
        connection *made = (connection *)(void *)found;
        if (*code == CURLE_OK && (curl_easy_getinfo(made->easy, CURLINFO_ACTIVESOCKET, &descriptor) != CURLE_OK ||
                                  descriptor == CURL_SOCKET_BAD))
            *code = CURLE_COULDNT_CONNECT;
        if (*code == CURLE_OK) {
            self->opening--;
            made->state = CONNECTION_OPEN;
            made->descriptor = (int)descriptor;
        } else
            connection_close(made);
        return made;
    }
    return NULL;
}

/* -- one of them ----------------------------------------------------------------------------------------------- */

/* Whether libcurl's TLS is the OpenSSL that this is linked with: of another, a context is something else. */
static bool same_openssl(void)
{
    const char *theirs = curl_version_info(CURLVERSION_NOW)->ssl_version, *ours = OpenSSL_version(OPENSSL_VERSION);
    size_t name = strlen("OpenSSL/"); /* or "OpenSSL ", before the version */
    return theirs && strncmp(theirs, "OpenSSL/", name) == 0 && strlen(ours) > name &&
           strncmp(theirs + name, ours + name, strlen(theirs + name)) == 0;
}

/* Have OpenSSL read what there is of a record by one call of the system, and not its head by one of its own. */
static CURLcode read_ahead(CURL *easy, void *context, void *user)
{
    (void)easy;
    (void)user;
    SSL_CTX_set_read_ahead(context, 1);
    return CURLE_OK;
}

bool connection_init(connection *self, connection_group *group, const connection_options *options, void *owner)
{
    self->group = group;
    self->owner = owner;
    self->state = CONNECTION_CLOSED;
    self->easy = curl_easy_init();
    if (!self->easy)
        return false;
#define SET(option, value) (curl_easy_setopt(self->easy, CURLOPT_##option, value) == CURLE_OK)
    bool done = SET(PRIVATE, self) && SET(SHARE, group->sessions) && SET(ERRORBUFFER, self->fault) &&
                SET(URL, options->url) && SET(CONNECT_ONLY, 1L) &&
                SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) && SET(USERAGENT, "mu-twisted") && SET(NOSIGNAL, 1L) &&
                SET(SSL_VERIFYPEER, 1L) && SET(SSL_VERIFYHOST, 2L) &&
                SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) && SET(NETRC, (long)CURL_NETRC_IGNORED) &&
                SET(PROXY, options->proxy ? options->proxy : "") && SET(TCP_KEEPALIVE, 1L) &&
                SET(CONNECTTIMEOUT_MS, (long)(options->connect_timeout * 1000)) &&
                SET(TIMEOUT_MS, (long)(options->timeout * 1000));
    if (options->ca_bundle)
        done = done && SET(CAINFO, options->ca_bundle);
    if (same_openssl())
        curl_easy_setopt(self->easy, CURLOPT_SSL_CTX_FUNCTION, read_ahead);
    /* With a directory, libcurl would read the file once a connection. */
    curl_easy_setopt(self->easy, CURLOPT_CAPATH, NULL);
#undef SET
    return done;
}

void connection_clear(connection *self)
{
    if (self->easy)
        connection_close(self);
    curl_easy_cleanup(self->easy);
    self->easy = NULL;
}

bool connection_begin(connection *self)
{
    self->fault[0] = '\0';
    if (curl_multi_add_handle(self->group->multi, self->easy) != CURLM_OK)
        return false;
    self->state = CONNECTION_OPENING;
    self->group->opening++;
    return true;
}

void connection_close(connection *self)
{
    if (self->state == CONNECTION_CLOSED)
        return;
    self->group->opening -= self->state == CONNECTION_OPENING;
    self->state = CONNECTION_CLOSED;
    curl_multi_remove_handle(self->group->multi, self->easy);
}

bool connection_has_address(const connection *self)
{
    curl_off_t looked_up = 0;
    curl_easy_getinfo(self->easy, CURLINFO_NAMELOOKUP_TIME_T, &looked_up);
    return looked_up > 0;
}

connection_outcome connection_send(connection *self, const char *data, size_t size, size_t *sent)
{
    CURLcode code = curl_easy_send(self->easy, data, size, sent);
    return code == CURLE_OK ? CONNECTION_DONE : code == CURLE_AGAIN ? CONNECTION_BLOCKED : CONNECTION_FAILED;
}

connection_outcome connection_receive(connection *self, char *data, size_t room, size_t *received)
{
    CURLcode code = curl_easy_recv(self->easy, data, room, received);
    if (code == CURLE_OK)
        return *received > 0 ? CONNECTION_DONE : CONNECTION_ENDED;
    return code == CURLE_AGAIN ? CONNECTION_BLOCKED : CONNECTION_FAILED;
}

bool connection_is_hopeless(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_URL_MALFORMAT ||
           code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_ENGINE_NOTFOUND;
}

void connection_say_fault(const connection *self, CURLcode code, char *into, size_t room)
{
    long number = 0;
    char text[128];
    if (code == CURLE_COULDNT_CONNECT && curl_easy_getinfo(self->easy, CURLINFO_OS_ERRNO, &number) == CURLE_OK &&
        number != 0 && strerror_r((int)number, text, sizeof text) == 0)
        snprintf(into, room, "cannot connect: %s", text);
    else if (strstr(self->fault, "proxy") && strchr(self->fault, '@')) /* its URL, with the password in it */
        snprintf(into, room, "the proxy's URL cannot be used");
    else
        snprintf(into, room, "%s", *self->fault ? self->fault : curl_easy_strerror(code));
}
