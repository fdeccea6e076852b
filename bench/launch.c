/* The launcher's reference: the same requests, signed by the same code, over OpenSSL and epoll and nothing else.
 *
 * usage: launch PORT CA_FILE LAUNCHES CONNECTIONS PAYLOAD, where ##ID## in the payload stands for the launch's number.
 * Prints [CPU seconds, seconds, accepted]. The first launch is sent alone; the other connections resume its session. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../launch/request.h"
#include "../launch/sigv4.h"

typedef struct {
    SSL *tls;
    int descriptor;
    size_t sent, got;
    bool idle;
    char in[1024];
    request_buffer request;
} connection;

static int launches, begun, ended, accepted;
static signer signing;
static const credentials keys = {"AKID", "secret", NULL};
static endpoint target;
static const char *payload;
static SSL_SESSION *session;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double cpu(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int keep_session(SSL *tls, SSL_SESSION *made)
{
    (void)tls;
    SSL_SESSION_free(session);
    session = made;
    return 1;
}

static void begin(connection *at)
{
    char id[16], path[1024];
    signature made;
    at->idle = begun == launches;
    if (at->idle)
        return;
    snprintf(id, sizeof id, "%d", begun++);
    launch_request request = {id, "worker", payload, strlen(id), strlen(payload)};
    if (!endpoint_path(&target, "worker", path) ||
        !request_put_body(&at->request, &request, request_head_room(&target, NULL)) ||
        !signer_sign(&signing, &keys, time(NULL), target.host, path, at->request.data + at->request.body,
                     at->request.end - at->request.body, &made) ||
        !request_put_head(&at->request, &target, path, &made, NULL))
        fail("signing");
    at->sent = at->request.head;
    at->got = 0;
}

/* Go on until TLS has to wait. */
static void step(connection *at)
{
    while (!at->idle) {
        int done;
        if (at->sent < at->request.end) {
            done = SSL_write(at->tls, at->request.data + at->sent, (int)(at->request.end - at->sent));
            if (done > 0) {
                at->sent += (size_t)done;
                continue;
            }
        } else {
            done = SSL_read(at->tls, at->in + at->got, (int)(sizeof at->in - 1 - at->got));
            if (done > 0) {
                at->got += (size_t)done;
                at->in[at->got] = '\0';
                if (strstr(at->in, "\r\n\r\n")) {
                    accepted += strncmp(at->in, "HTTP/1.1 202", 12) == 0;
                    ended++;
                    begin(at);
                }
                continue;
            }
        }
        int why = SSL_get_error(at->tls, done);
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            fail("TLS");
        return;
    }
}

static void dial(connection *at, SSL_CTX *context, int port, int poll)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    int on = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = at};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (at->descriptor < 0 || connect(at->descriptor, (struct sockaddr *)&to, sizeof to) ||
        setsockopt(at->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
        fail("connect");
    fcntl(at->descriptor, F_SETFL, O_NONBLOCK);
    at->tls = SSL_new(context);
    SSL_set_fd(at->tls, at->descriptor);
    SSL_set_connect_state(at->tls);
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(at->tls), "127.0.0.1");
    if (session)
        SSL_set_session(at->tls, session);
    begin(at);
    if (epoll_ctl(poll, EPOLL_CTL_ADD, at->descriptor, &event))
        fail("epoll");
}

int main(int count, char **words)
{
    if (count != 6)
        return 2;
    char url[64];
    int port = atoi(words[1]), pool = atoi(words[4]), dialled = 0, poll = epoll_create1(EPOLL_CLOEXEC);
    launches = atoi(words[3]);
    payload = words[5];
    snprintf(url, sizeof url, "https://127.0.0.1:%d", port);
    connection *all = calloc((size_t)pool, sizeof *all);
    double cpu_before = cpu(), since = now();
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!all || !context || endpoint_read(&target, url) || !signer_init(&signing) || SSL_CTX_load_verify_file(context, words[2]) != 1)
        fail("setting up");
    signer_set_region(&signing, "us-east-1");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
    dial(&all[dialled++], context, port, poll);
    while (ended < launches) {
        struct epoll_event ready[64];
        int found = epoll_wait(poll, ready, 64, 20000);
        if (found <= 0)
            fail("no answer");
        for (int at = 0; at < found; at++)
            step(ready[at].data.ptr);
        while (ended > 0 && dialled < pool && begun < launches)
            dial(&all[dialled++], context, port, poll);
    }
    printf("[%.6f, %.6f, %d]\n", cpu() - cpu_before, now() - since, accepted);
    return 0;
}
