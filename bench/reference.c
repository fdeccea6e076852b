/* A server that costs as little as can be: what the coordinator's transport is measured against.
 *
 * reference CERT KEY CA N ACTIVE ECHOES
 *
 * One thread, epoll, OpenSSL; mutual TLS 1.3, the frames of the wire. Says its port; "connected" and the CPU that it has
 * had by then, in seconds, once N peers have finished their handshakes; then sends each, once it has greeted, "echo:"
 * commands, one after each reply: ECHOES to the first ACTIVE, none to the others, and says in the end the CPU, in
 * microseconds, and the time that each message has cost. It has no limit, no deadline and no other use. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 13, BUFFER = 4096, EVENTS = 256 };

struct peer {
    SSL *ssl;
    int fd;
    int shaken;
    long left;
    size_t filled;
    char buffer[256];
};

static int epoll, listening;
static long wanted, active, echoes, shaken, greeted, finished, messages;
static double cpu_begun, wall_begun;

static void die(const char *what) {
    fprintf(stderr, "reference: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static double wall(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void send_echo(struct peer *peer, int hold) {
    char frame[64];
    int size = snprintf(frame, sizeof frame, "%012d echo:%s", hold ? 9 : 15, hold ? "hold" : "0123456789");
    if (SSL_write(peer->ssl, frame, size) <= 0) die("write");
}

static void take_frame(struct peer *peer) {
    if (peer->left < 0) {
        peer->left = greeted++ < active ? echoes : 0;
        if (greeted == wanted) {
            cpu_begun = cpu();
            wall_begun = wall();
            messages = 0;
        }
    } else {
        messages++;
    }
    if (peer->left > 0) {
        send_echo(peer, 0);
        if (--peer->left == 0) finished++;
    } else {
        send_echo(peer, 1);
        if (finished == active && greeted == wanted) {
            printf("%f %f\n", (cpu() - cpu_begun) / messages * 1e6, (wall() - wall_begun) / messages * 1e6);
            fflush(stdout);
            finished = -1;
        }
    }
}

static void readable(struct peer *peer) {
    if (!peer->shaken) {
        int done = SSL_do_handshake(peer->ssl);
        if (done != 1) {
            if (SSL_get_error(peer->ssl, done) != SSL_ERROR_WANT_READ) die("handshake");
            return;
        }
        peer->shaken = 1;
        if (++shaken == wanted) {
            printf("connected %f\n", cpu());
            fflush(stdout);
        }
        if (!SSL_has_pending(peer->ssl)) return;
    }
    int got = SSL_read(peer->ssl, peer->buffer + peer->filled, (int)(sizeof peer->buffer - peer->filled));
    if (got <= 0) {
        if (SSL_get_error(peer->ssl, got) == SSL_ERROR_WANT_READ) return;
        exit(0); /* the load has ended */
    }
    peer->filled += got;
    size_t at = 0;
    while (peer->filled - at >= HEADER) {
        size_t size = strtoul(peer->buffer + at, NULL, 10);
        if (peer->filled - at < HEADER + size) break;
        take_frame(peer);
        at += HEADER + size;
    }
    memmove(peer->buffer, peer->buffer + at, peer->filled - at);
    peer->filled -= at;
}

static void accept_some(SSL_CTX *context) {
    for (;;) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK), one = 1;
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct peer *peer = calloc(1, sizeof *peer);
        peer->fd = fd;
        peer->left = -1;
        peer->ssl = SSL_new(context);
        SSL_set_fd(peer->ssl, fd);
        SSL_set_accept_state(peer->ssl);
        struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = peer}};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
    }
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: reference CERT KEY CA N ACTIVE ECHOES\n");
        return 2;
    }
    wanted = atol(argv[4]), active = atol(argv[5]), echoes = atol(argv[6]);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!SSL_CTX_use_certificate_chain_file(context, argv[1]) ||
        !SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) ||
        !SSL_CTX_load_verify_locations(context, argv[3], NULL))
        die("keys");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(context, 1);
    listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof where;
    if (bind(listening, (struct sockaddr *)&where, size) < 0 || listen(listening, 4096) < 0) die("listen");
    getsockname(listening, (struct sockaddr *)&where, &size);
    epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = NULL}}, events[EVENTS];
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listening, &event) < 0) die("epoll");
    printf("%d\n", ntohs(where.sin_port));
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int at = 0; at < ready; at++) {
            if (events[at].data.ptr) readable(events[at].data.ptr);
            else accept_some(context);
        }
    }
}
