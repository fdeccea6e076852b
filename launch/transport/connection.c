#include "connection.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls.h"

enum {
    READ_BUFFER = 64 << 10, /* that one read of the socket brings at most, of a connection that is bundled */
    COPY_BELOW = 2048,      /* bytes: so few are copied sooner than held */
    KEY_UPDATES = 32,    /* of which a connection may have so many for so much data */
    KEY_UPDATE_DATA = 1 << 20,
};

/* As mu_twisted/transport/_keepalive.py: a peer whose machine is gone is found within two minutes. */
enum { IDLE = 60, INTERVAL = 15, PROBES = 4, UNACKNOWLEDGED_MS = (IDLE + PROBES * INTERVAL) * 1000 };

/* -- the socket under TLS ------------------------------------------------------------------------------------------- */

/* One turn reads so much of the socket and no more, whatever the records in it are: a flood of those that carry no data
 * ends, too. A read that brought less than there was room for has emptied the socket: epoll tells when there is more. */
static int socket_read(BIO *bio, char *into, int size)
{
    connection *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (c->key_updates > KEY_UPDATES)
        return -1;
    if (c->emptied || c->may_read == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    ssize_t got;
    do
        got = recv(c->fd, into, (size_t)size, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        c->emptied = got < size;
        c->may_read -= (size_t)got < c->may_read ? (size_t)got : c->may_read;
        return (int)got;
    }
    if (got == 0) {
        c->ended = true;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        c->emptied = true;
        BIO_set_retry_read(bio);
    } else {
        c->error = errno;
    }
    return (int)got;
}

static int socket_write(BIO *bio, const char *from, int size)
{
    connection *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t sent;
    do
        sent = send(c->fd, from, (size_t)size, MSG_NOSIGNAL | (c->corked ? MSG_MORE : 0));
    while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            BIO_set_retry_write(bio);
        else
            c->error = errno;
    }
    return (int)sent;
}

static long socket_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *socket_method;
static pthread_once_t socket_method_once = PTHREAD_ONCE_INIT;

static void make_socket_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "mu's socket");
    if (method && BIO_meth_set_read(method, socket_read) && BIO_meth_set_write(method, socket_write) &&
        BIO_meth_set_ctrl(method, socket_control))
        socket_method = method;
    else
        BIO_meth_free(method);
}

/* Counts the messages by which a peer has us make new keys; see socket_read for what ends a flood of them. */
static void see_message(int writing, int version, int kind, const void *data, size_t size, SSL *ssl, void *given)
{
    (void)version, (void)given;
    if (writing || kind != SSL3_RT_HANDSHAKE || size == 0 || *(const unsigned char *)data != SSL3_MT_KEY_UPDATE)
        return;
    connection *c = SSL_get_app_data(ssl);
    c->key_updates++;
}

bool connection_prepare(SSL_CTX *context)
{
    pthread_once(&socket_method_once, make_socket_method);
    SSL_CTX_set_msg_callback(context, see_message);
    return socket_method != NULL;
}

static void set_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},         {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, IDLE},     {IPPROTO_TCP, TCP_KEEPINTVL, INTERVAL},
        {IPPROTO_TCP, TCP_KEEPCNT, PROBES},    {IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS},
    };
    for (size_t at = 0; at < sizeof options / sizeof *options; at++)
        (void)setsockopt(fd, options[at].level, options[at].name, &options[at].value, sizeof options[at].value);
}

/* -- beginning and end ---------------------------------------------------------------------------------------------- */

connection *connection_new(int fd, SSL_CTX *context, const peer_address *peer, uint64_t max_frame)
{
    connection *c = calloc(1, sizeof *c);
    BIO *bio = NULL;
    if (c && (c->ssl = SSL_new(context)) && (bio = BIO_new(socket_method))) {
        c->fd = fd;
        c->peer = *peer;
        c->reader.limit = max_frame;
        c->turn_bytes = TURN_BYTES;
        BIO_set_data(bio, c);
        BIO_set_init(bio, 1);
        SSL_set_bio(c->ssl, bio, bio);
        SSL_set_app_data(c->ssl, c);
        SSL_set_accept_state(c->ssl);
        set_options(fd);
        return c;
    }
    ERR_clear_error();
    if (c)
        SSL_free(c->ssl);
    free(c);
    close(fd);
    return NULL;
}

void connection_drop(connection *c, bool reset)
{
    if (c->lost)
        return;
    c->lost = true;
    if (reset) {
        const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    SSL_free(c->ssl);
    c->ssl = NULL;
    close(c->fd);
    c->fd = -1;
    send_queue_clear(&c->out);
    queue_clear(&c->rest);
}

void connection_free(connection *c)
{
    connection_drop(c, false);
    frame_reader_clear(&c->reader);
    bundle_reader_clear(&c->bundles);
    free(c);
}

/* -- steps ---------------------------------------------------------------------------------------------------------- */

/* What a call of OpenSSL that has not succeeded means. */
static step judge(connection *c, int returned)
{
    const int error = SSL_get_error(c->ssl, returned);
    if (error == SSL_ERROR_WANT_READ)
        return STEP_WAIT;
    if (error == SSL_ERROR_WANT_WRITE)
        return STEP_WAIT_WRITE;
    const long refusal = SSL_get_verify_result(c->ssl);
    if (c->key_updates > KEY_UPDATES)
        c->why = (failure){.kind = FAILURE_KEY_UPDATES};
    else if (error == SSL_ERROR_ZERO_RETURN)
        c->why = (failure){.kind = FAILURE_CLOSED};
    else if (c->error || c->ended)
        c->why = (failure){.kind = FAILURE_BROKE, .code = c->error};
    else if (!SSL_is_init_finished(c->ssl) && refusal != X509_V_OK)
        c->why = (failure){.kind = FAILURE_CERTIFICATE, .code = refusal};
    else
        c->why = (failure){.kind = FAILURE_TLS, .text = tls_first_reason()};
    ERR_clear_error();
    return STEP_FAILED;
}

step connection_handshake(connection *c)
{
    ERR_clear_error();
    c->emptied = false;
    c->may_read = TURN_BYTES;
    const int done = SSL_do_handshake(c->ssl);
    return done == 1 ? STEP_DONE : judge(c, done);
}

typedef struct {
    frame_sink sink;
    void *context;
    unsigned left;
} counted_sink;

static bool take_counted(void *context, const char *payload, size_t size)
{
    counted_sink *counted = context;
    counted->left--;
    return counted->sink(counted->context, payload, size) && counted->left > 0;
}

static bool judge_frames(connection *c, frame_outcome outcome)
{
    switch (outcome) {
    case FRAME_ALL_TAKEN:
    case FRAME_STOPPED:
        return true;
    case FRAME_MALFORMED:
        c->why = (failure){.kind = FAILURE_MALFORMED};
        return false;
    case FRAME_TOO_LONG:
        c->why = (failure){.kind = FAILURE_TOO_LONG, .code = (int64_t)c->reader.size};
        return false;
    default:
        c->why = (failure){.kind = FAILURE_MEMORY};
        return false;
    }
}

/* Cuts the frames out of decrypted bytes; what the turn leaves is kept. False: the connection has failed. */
static bool cut(connection *c, const char *data, size_t size, counted_sink *counted, size_t *taken)
{
    return judge_frames(c, frame_feed(&c->reader, data, size, taken, take_counted, counted));
}

/* The same for bytes that stand in the bundle. */
static bool count_in(connection *c, size_t size)
{
    const frame_outcome outcome = bundle_filled(&c->bundles, size, c->reader.limit);
    c->reader.size = c->bundles.size;
    if (outcome == FRAME_MALFORMED) { /* the header is looked for in the reader */
        const size_t left = bundle_pending(&c->bundles);
        c->reader.filled = left < FRAME_HEADER ? left : FRAME_HEADER;
        memcpy(c->reader.header, c->bundles.filling->data + c->bundles.whole, c->reader.filled);
    }
    return judge_frames(c, outcome);
}

static char *room(connection *c, size_t least, size_t *size)
{
    char *into = bundle_room(&c->bundles, least, c->turn_bytes < TURN_BYTES ? c->turn_bytes : SIZE_MAX, size);
    if (!into)
        c->why = (failure){.kind = FAILURE_MEMORY};
    return into;
}

static bool put_in(connection *c, const char *data, size_t size)
{
    size_t ignored;
    char *into = size ? room(c, size, &ignored) : NULL;
    if (size && !into)
        return false;
    if (size)
        memcpy(into, data, size);
    return !size || count_in(c, size);
}

bool connection_bundle(connection *c)
{
    frame_reader *reader = &c->reader;
    if (c->bundled)
        return true;
    c->bundled = true;
    SSL_set_default_read_buffer_len(c->ssl, READ_BUFFER);
    const bool in_body = reader->in_body;
    const size_t filled = reader->filled;
    if (in_body)
        frame_header(reader->header, reader->size);
    bool sound = put_in(c, reader->header, in_body ? FRAME_HEADER : filled);
    if (sound && in_body)
        sound = put_in(c, reader->body, filled);
    frame_reader_clear(reader);
    return sound;
}

size_t connection_pending(const connection *c)
{
    return c->bundled ? bundle_pending(&c->bundles) : frame_pending(&c->reader);
}

uint64_t connection_announced(const connection *c)
{
    if (c->bundled)
        return c->bundles.in_body ? c->bundles.size : 0;
    return c->reader.in_body ? c->reader.size : 0;
}

static void count_data(connection *c, size_t size)
{
    if (!c->key_updates)
        return;
    c->since_update += size;
    if (c->since_update >= KEY_UPDATE_DATA)
        c->key_updates = 0, c->since_update = 0;
}

/* Whether a read would find nothing, neither in the socket nor in TLS. */
static bool is_empty(const connection *c)
{
    return c->emptied && !SSL_has_pending(c->ssl);
}

/* What is read is decrypted into the bundle itself. */
static step read_bundle(connection *c, size_t *read)
{
    const size_t left = c->rest.end - c->rest.at;
    *read += left;
    if (!put_in(c, c->rest.data + c->rest.at, left))
        return STEP_FAILED;
    queue_clear(&c->rest);
    while (*read < c->turn_bytes) {
        size_t size;
        char *into = room(c, CONNECTION_RECORD, &size);
        if (!into)
            return STEP_FAILED;
        ERR_clear_error();
        const int got = SSL_read(c->ssl, into, CONNECTION_RECORD);
        if (got <= 0)
            return judge(c, got);
        *read += (size_t)got;
        count_data(c, (size_t)got);
        if (!count_in(c, (size_t)got))
            return STEP_FAILED;
        if (is_empty(c))
            return STEP_WAIT;
    }
    return STEP_DONE;
}

step connection_read(connection *c, char *buffer, frame_sink sink, void *context, size_t *read)
{
    counted_sink counted = {.sink = sink, .context = context, .left = TURN_FRAMES};
    size_t taken;
    *read = 0;
    c->emptied = false;
    c->may_read = c->turn_bytes;
    if (c->closing)
        queue_clear(&c->rest);
    else if (c->bundled)
        return read_bundle(c, read);
    if (c->rest.end) {
        *read += c->rest.end - c->rest.at;
        if (!cut(c, c->rest.data + c->rest.at, c->rest.end - c->rest.at, &counted, &taken))
            return STEP_FAILED;
        queue_taken(&c->rest, taken);
    }
    while (counted.left > 0 && *read < c->turn_bytes) {
        ERR_clear_error();
        const int got = SSL_read(c->ssl, buffer, CONNECTION_RECORD);
        if (got <= 0)
            return judge(c, got);
        *read += (size_t)got;
        count_data(c, (size_t)got);
        if (c->closing)
            continue;
        if (!cut(c, buffer, (size_t)got, &counted, &taken))
            return STEP_FAILED;
        if (taken < (size_t)got && !queue_add(&c->rest, buffer + taken, (size_t)got - taken)) {
            c->why = (failure){.kind = FAILURE_MEMORY};
            return STEP_FAILED;
        }
        if (counted.left > 0 && is_empty(c))
            return STEP_WAIT;
    }
    return STEP_DONE;
}

bool connection_add(connection *c, const void *data, size_t size)
{
    return send_queue_add(&c->out, data, size);
}

/* The end of a long bundle is copied rather than held: its user takes it for sent, and so the rest for free. */
bool connection_add_bundle(connection *c, bundle *of, const char *data, size_t size)
{
    const bool last = data + size == of->data + of->size;
    if (size < COPY_BELOW || (last && size < of->size / 2))
        return send_queue_add(&c->out, data, size);
    return send_queue_hold(&c->out, of, data, size);
}

size_t connection_unsent(const connection *c)
{
    return c->out.size;
}

step connection_flush(connection *c)
{
    while (c->out.size) {
        size_t left;
        const char *data = send_queue_next(&c->out, &left);
        if (left > CONNECTION_RECORD)
            left = CONNECTION_RECORD;
        c->corked = left < c->out.size;
        ERR_clear_error();
        const int sent = SSL_write(c->ssl, data, (int)left);
        if (sent <= 0)
            return judge(c, sent);
        send_queue_taken(&c->out, (size_t)sent);
    }
    c->corked = false;
    if (c->closing && !c->shut) {
        ERR_clear_error();
        const int sent = SSL_shutdown(c->ssl);
        if (sent < 0) {
            const step came = judge(c, sent);
            if (came != STEP_WAIT)
                return came;
        }
        c->shut = true;
    }
    return STEP_DONE;
}
