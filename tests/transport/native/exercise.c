/* Drives the transport's core as its user does, with peers of every kind at once: run under sanitizers.
 *
 * exercise SECONDS SEED. Peers are threads of OpenSSL's client; the core's user echoes, frames or bundles, and now and then
 * pauses, finishes or aborts a connection. Checked: what is echoed is what was sent; every connection ends once; the core's counts are 0
 * in the end; a flood of KeyUpdates is cut off, a renegotiation refused. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core.h"
#include "tls.h"

enum { PEERS = 6, MOST = 4096, LONGEST = 300000, LIMIT = 1 << 20 };

static struct sockaddr_in address;
static SSL_CTX *client, *client_of_12;
static atomic_bool over;
static atomic_uint kinds[8];

/* -- keys ----------------------------------------------------------------------------------------------------------- */

static char *pem_of(int (*write)(BIO *, void *), void *what, size_t *size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    assert(write(bio, what));
    *size = (size_t)BIO_get_mem_data(bio, &data);
    char *copy = malloc(*size);
    memcpy(copy, data, *size);
    BIO_free(bio);
    return copy;
}

static int write_certificate(BIO *bio, void *certificate)
{
    return PEM_write_bio_X509(bio, certificate);
}

static int write_key(BIO *bio, void *key)
{
    return PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
}

/* One certificate for both sides, which signs itself. */
static void make_keys(EVP_PKEY **key, X509 **certificate)
{
    *key = EVP_EC_gen("P-256");
    X509 *made = *certificate = X509_new();
    X509_set_version(made, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
    X509_gmtime_adj(X509_getm_notBefore(made), -3600);
    X509_gmtime_adj(X509_getm_notAfter(made), 86400);
    X509_set_pubkey(made, *key);
    X509_NAME *name = X509_get_subject_name(made);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"exercise", -1, -1, 0);
    X509_set_issuer_name(made, name);
    X509_sign(made, *key, EVP_sha256());
}

static SSL_CTX *client_context(EVP_PKEY *key, X509 *certificate, int newest)
{
    SSL_CTX *made = SSL_CTX_new(TLS_client_method());
    SSL_CTX_use_certificate(made, certificate);
    SSL_CTX_use_PrivateKey(made, key);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(made), certificate);
    SSL_CTX_set_verify(made, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_max_proto_version(made, newest);
    return made;
}

/* -- peers ---------------------------------------------------------------------------------------------------------- */

static unsigned chance(unsigned *seed, unsigned below)
{
    return (unsigned)rand_r(seed) % below;
}

static int dial(void)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = {.tv_sec = 20};
    assert(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static bool read_whole(SSL *ssl, char *into, size_t size)
{
    size_t got;
    for (size_t at = 0; at < size; at += got)
        if (SSL_read_ex(ssl, into + at, size - at, &got) != 1)
            return false;
    return true;
}

/* Sends a frame in pieces and reads it back; false: the connection has ended, as it may at any time. */
static bool echo(SSL *ssl, unsigned *seed, char *frame, char *back)
{
    const size_t size = chance(seed, 4) ? chance(seed, 300) : chance(seed, LONGEST);
    frame_header(frame, size);
    for (size_t at = 0; at < size; at++)
        frame[FRAME_HEADER + at] = (char)(at * 31 + size);
    size_t sent;
    for (size_t at = 0; at < FRAME_HEADER + size; at += sent) {
        const size_t left = FRAME_HEADER + size - at, piece = 1 + chance(seed, chance(seed, 3) ? 9 : 60000);
        if (SSL_write_ex(ssl, frame + at, piece < left ? piece : left, &sent) != 1)
            return false;
    }
    if (!read_whole(ssl, back, FRAME_HEADER + size))
        return false;
    assert(memcmp(frame, back, FRAME_HEADER + size) == 0);
    return true;
}

/* Until it is cut off: that it is not within so many would be the fault that is looked for. */
static void flood_of_keys(SSL *ssl)
{
    char byte;
    size_t got;
    for (int count = 0; count < 100000; count++)
        if (SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 || SSL_do_handshake(ssl) != 1)
            return;
    assert(SSL_read_ex(ssl, &byte, 1, &got) != 1);
}

static void converse(SSL *ssl, unsigned *seed, char *frame, char *back)
{
    const unsigned kind = chance(seed, 8);
    atomic_fetch_add(&kinds[kind], 1);
    for (unsigned left = chance(seed, 12); left > 0; left--)
        if (!echo(ssl, seed, frame, back))
            return;
    switch (kind) {
    case 0:
        SSL_write(ssl, "GET / HTTP/1.1\r\n", 16);
        assert(!read_whole(ssl, back, 1));
        break;
    case 1:
        SSL_write(ssl, "000000000100 half", 17);
        reset(SSL_get_fd(ssl));
        break;
    case 2:
        flood_of_keys(ssl);
        break;
    case 3:
        if (SSL_version(ssl) == TLS1_2_VERSION && SSL_renegotiate(ssl) == 1)
            assert(SSL_do_handshake(ssl) != 1);
        break;
    case 4: /* sends, and reads nothing */
        frame_header(frame, LONGEST);
        for (int count = 0; count < 8; count++)
            if (SSL_write(ssl, frame, FRAME_HEADER + LONGEST) <= 0)
                break;
        break;
    case 5:
        reset(SSL_get_fd(ssl));
        break;
    default:
        SSL_shutdown(ssl);
        SSL_shutdown(ssl);
    }
}

static void *be_peers(void *given)
{
    unsigned seed = *(unsigned *)given;
    char *frame = calloc(1, FRAME_HEADER + LONGEST), *back = calloc(1, FRAME_HEADER + LONGEST);
    while (!atomic_load(&over)) {
        const int fd = dial();
        if (fd < 0)
            break;
        if (chance(&seed, 8) == 0) { /* no TLS at all */
            static const char noise[200] = {22, 3, 1, 0, 100, 1};
            send(fd, noise, chance(&seed, sizeof noise), MSG_NOSIGNAL);
            if (chance(&seed, 2))
                reset(fd);
            close(fd);
            continue;
        }
        SSL *ssl = SSL_new(chance(&seed, 4) ? client : client_of_12);
        SSL_set_fd(ssl, fd);
        if (SSL_connect(ssl) == 1)
            converse(ssl, &seed, frame, back);
        SSL_free(ssl);
        ERR_clear_error();
        close(fd);
    }
    free(frame);
    free(back);
    OPENSSL_thread_stop();
    return NULL;
}

/* -- the core's user ------------------------------------------------------------------------------------------------ */

typedef struct {
    connection *c;
    char *data;
    size_t size;
    bundle *of; /* or NULL: data is a payload */
} heard;

typedef struct {
    heard all[MOST];
    size_t count;
    unsigned established, lost, dropped, bundles, passed, seed;
    unsigned by_kind[FAILURE_ENDED + 1];
} user;

static void on_established(void *context, connection *c)
{
    user *self = context;
    unsigned char *der;
    const size_t size = core_certificate(c, &der);
    assert(size > 0);
    OPENSSL_free(der);
    c->user = self;
    core_watch(c, true);
    self->established++;
}

static void forget(user *self, connection *c)
{
    for (size_t at = 0; at < self->count; at++)
        if (self->all[at].c == c)
            self->all[at].c = NULL;
}

static bool on_frame(void *context, connection *c, const char *payload, size_t size)
{
    user *self = context;
    assert(c->user == self && !c->lost && size <= LIMIT);
    if (self->count == MOST)
        return true;
    char *copy = malloc(size + 1);
    memcpy(copy, payload, size);
    self->all[self->count++] = (heard){c, copy, size, NULL};
    return true;
}

/* Half of the bundles go back at once. */
static connection *on_route(void *context, connection *c)
{
    user *self = context;
    assert(c->user == self && !c->lost);
    return chance(&self->seed, 2) ? c : NULL;
}

static void on_bundled(void *context, connection *c, bundle *taken, connection *passed_to)
{
    user *self = context;
    assert(c->user == self && !c->lost && taken->frames > 0 && taken->longest <= LIMIT);
    assert(!passed_to || passed_to == c);
    self->bundles++;
    if (passed_to)
        self->passed++;
    else if (self->count < MOST)
        self->all[self->count++] = (heard){c, taken->data, taken->size, bundle_hold(taken)};
}

static void on_noted(void *context, connection *c, unsigned notes)
{
    user *self = context;
    assert(c->user == self);
    if (notes & NOTE_LOST) {
        assert(c->why.kind != FAILURE_NONE);
        self->by_kind[c->why.kind]++;
        self->lost++;
        forget(self, c);
        c->user = NULL;
    }
}

static void on_dropped(void *context, const report *what)
{
    user *self = context;
    assert(what->why.kind != FAILURE_NONE);
    self->dropped++;
}

static void on_counted(void *context, unsigned unreported, unsigned room_wanted)
{
    user *self = context;
    (void)room_wanted;
    self->dropped += unreported;
}

static const core_sink sink = {on_established, on_frame, on_bundled, on_route, on_noted, on_dropped, on_counted};

/* False: so much waits for the peer that no more was taken. */
static bool send_back(const heard *one, unsigned *seed)
{
    const core_payload payload = {one->data, one->size};
    if (!one->of)
        return core_send(one->c, &payload, 1, true) == SEND_TAKEN;
    for (size_t at = 0, piece; at < one->size; at += piece) {
        piece = chance(seed, 2) ? one->size - at : 1 + chance(seed, (unsigned)(one->size - at));
        if (core_send_bundle(one->c, one->of, one->data + at, piece) != SEND_TAKEN)
            return false;
    }
    return true;
}

static void answer(user *self, unsigned *seed)
{
    for (size_t at = 0; at < self->count; at++) {
        heard *one = &self->all[at];
        if (one->c) {
            if (!send_back(one, seed))
                core_abort(one->c);
            else if (!one->of && chance(seed, 20) == 0)
                core_bundle(one->c);
            switch (chance(seed, 60)) {
            case 0:
                core_abort(one->c);
                break;
            case 1:
                core_finish(one->c);
                break;
            case 2:
                core_pause(one->c, true);
                core_pause(one->c, false);
            }
        }
        if (one->of)
            bundle_release(one->of);
        else
            free(one->data);
    }
    self->count = 0;
}

int main(int count, char **words)
{
    if (count != 3) {
        fprintf(stderr, "usage: exercise SECONDS SEED\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    unsigned seed = (unsigned)atoi(words[2]), seeds[PEERS];
    EVP_PKEY *key;
    X509 *certificate;
    make_keys(&key, &certificate);
    client = client_context(key, certificate, TLS1_3_VERSION);
    client_of_12 = client_context(key, certificate, TLS1_2_VERSION);
    tls_bytes chain, private;
    char *chain_pem = pem_of(write_certificate, certificate, &chain.size);
    char *key_pem = pem_of(write_key, key, &private.size);
    chain.data = chain_pem;
    private.data = key_pem;

    const int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof address;
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert(bind(listening, (struct sockaddr *)&address, size) == 0 && listen(listening, 1024) == 0);
    getsockname(listening, (struct sockaddr *)&address, &size);

    const char *fault = NULL;
    const pool_options options = {.threads = 3, .max_handshakes = 4, .max_connections = 64, .room = 2,
                                  .handshake_timeout = 5, .stall_timeout = 1, .max_frame = LIMIT};
    SSL_CTX *context = tls_server_context(chain, private, chain, &fault);
    transport_core *core = context ? core_new(context, &options, 1 << 20, &fault) : NULL;
    if (!core || !core_listen(core, listening, &fault)) {
        fprintf(stderr, "%s\n", fault);
        return 1;
    }
    pthread_t peers[PEERS];
    for (int at = 0; at < PEERS; at++) {
        seeds[at] = seed + (unsigned)at + 1;
        assert(pthread_create(&peers[at], NULL, be_peers, &seeds[at]) == 0);
    }
    user self = {.seed = seed};
    const time_t end = time(NULL) + atoi(words[1]);
    while (time(NULL) < end) {
        struct pollfd ready = {.fd = core_descriptor(core), .events = POLLIN};
        poll(&ready, 1, 100);
        core_turn(core, &sink, &self, rand_r(&seed) % 2);
        answer(&self, &seed);
        core_flush(core);
        assert(pool_handshakes(core_pool(core)) <= options.max_handshakes + options.threads);
    }
    /* In the middle of everything. */
    atomic_store(&over, true);
    close(listening);
    core_end(core, &sink, &self);
    answer(&self, &seed);
    assert(self.established == self.lost);
    assert(pool_connections(core_pool(core)) == 0 && pool_handshakes(core_pool(core)) == 0);
    core_free(core);
    for (int at = 0; at < PEERS; at++)
        pthread_join(peers[at], NULL);
    printf("%u connections, %u that never were one; %u bundles, %u of them sent back at once; cut off for floods of KeyUpdate: %u, for what is no frame: %u\n",
           self.established, self.dropped, self.bundles, self.passed, self.by_kind[FAILURE_KEY_UPDATES], self.by_kind[FAILURE_MALFORMED]);
    assert(self.bundles > self.passed && self.passed > 0 && self.by_kind[FAILURE_KEY_UPDATES] > 0 && self.by_kind[FAILURE_MALFORMED] > 0);
    SSL_CTX_free(client);
    SSL_CTX_free(client_of_12);
    EVP_PKEY_free(key);
    X509_free(certificate);
    free(chain_pem);
    free(key_pem);
    return 0;
}
