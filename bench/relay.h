/* What the relays in C and their loads share: mutual TLS, the frames of the wire, buffers, one thread, epoll. */
#ifndef BENCH_RELAY_H
#define BENCH_RELAY_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 13, READ = 256 << 10, EVENTS = 256 };

struct buffer {
    char *data;
    size_t from, to, room;
};

struct connection {
    SSL *ssl;
    int fd, number, next, greeted, shaken, paused, sender;
    unsigned events;
    struct buffer in, out;
    struct connection *next_dirty;
    int dirty;
    /* of the load */
    long left, expected, begun;
    size_t sent;
};

static int epoll;
static char scratch[READ];

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void append(struct buffer *buffer, const char *data, size_t size) {
    if (buffer->from == buffer->to) buffer->from = buffer->to = 0;
    if (buffer->to + size > buffer->room) {
        memmove(buffer->data, buffer->data + buffer->from, buffer->to - buffer->from);
        buffer->to -= buffer->from;
        buffer->from = 0;
        if (buffer->to + size > buffer->room) {
            buffer->room = (buffer->to + size) * 3 / 2;
            buffer->data = realloc(buffer->data, buffer->room);
            if (!buffer->data) die("memory");
        }
    }
    memcpy(buffer->data + buffer->to, data, size);
    buffer->to += size;
}

static void watch(struct connection *connection, unsigned events) {
    if (events == connection->events) return;
    struct epoll_event event = {.events = events, .data = {.ptr = connection}};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event) < 0) die("epoll_ctl");
    connection->events = events;
}

static struct connection *open_connection(int fd, SSL_CTX *context, int accepting) {
    struct connection *connection = calloc(1, sizeof *connection);
    int on = 1;
    if (!connection) die("memory");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->fd = fd;
    connection->ssl = SSL_new(context);
    SSL_set_fd(connection->ssl, fd);
    if (accepting)
        SSL_set_accept_state(connection->ssl);
    else
        SSL_set_connect_state(connection->ssl);
    connection->events = EPOLLIN;
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = connection}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
    return connection;
}

/* Whether the handshake is done. */
static int shake(struct connection *connection) {
    int done = SSL_do_handshake(connection->ssl);
    if (done == 1) return connection->shaken = 1;
    int why = SSL_get_error(connection->ssl, done);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) die("handshake");
    return 0;
}

/* Send what the buffer holds, as far as it goes. */
static void drain(struct connection *connection, struct buffer *buffer) {
    while (buffer->from < buffer->to) {
        int sent = SSL_write(connection->ssl, buffer->data + buffer->from, (int)(buffer->to - buffer->from));
        if (sent <= 0) {
            int why = SSL_get_error(connection->ssl, sent);
            ERR_clear_error();
            if (why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ) return;
            buffer->from = buffer->to;
            return;
        }
        buffer->from += sent;
    }
}

/* A port of this machine's, which is printed, and a descriptor that is readable when a peer dials. */
static int listen_here(void) {
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof where;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&where, length) < 0 || listen(listener, 4096) < 0) die("listen");
    getsockname(listener, (struct sockaddr *)&where, &length);
    printf("%d\n", ntohs(where.sin_port));
    fflush(stdout);
    return listener;
}

static void watch_input(int fd, struct connection *stands_for) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = stands_for}};
    stands_for->fd = fd;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

/* Serve what dials until standard input ends: ready gets each connection whose handshake is done, with its events; turned,
 * if there is one, is called when all of a turn have had theirs. */
static int serve_peers(SSL_CTX *context, void (*ready)(struct connection *, unsigned), void (*turned)(void)) {
    int listener = listen_here();
    struct connection door = {0}, input = {0};
    watch_input(listener, &door);
    watch_input(STDIN_FILENO, &input);
    struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int at = 0; at < count; at++) {
            struct connection *connection = events[at].data.ptr;
            if (connection == &input) return 0;
            if (connection == &door) {
                int fd = accept(listener, NULL, NULL);
                if (fd >= 0) open_connection(fd, context, 1);
            } else if (connection->shaken || shake(connection))
                ready(connection, events[at].events);
        }
        if (turned) turned();
    }
}

/* A connection that has sent its greeting; nothing of it is waited for. */
static struct connection *dial(int port, SSL_CTX *context, const char *greeting) {
    struct sockaddr_in where = {
        .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&where, sizeof where) < 0) die("connect");
    struct connection *connection = open_connection(fd, context, 0);
    struct epoll_event events[1];
    /* One at a time: only this one's events are waited for, as all others are asked for nothing yet. */
    while (!shake(connection)) epoll_wait(epoll, events, 1, 10);
    char frame[160];
    int size = snprintf(frame, sizeof frame, "%012zu %s", strlen(greeting), greeting);
    if (SSL_write(connection->ssl, frame, size) != size) die("greeting");
    watch(connection, 0);
    return connection;
}

static SSL_CTX *context_of(const SSL_METHOD *method, char **files) {
    SSL_CTX *context = SSL_CTX_new(method);
    if (!SSL_CTX_load_verify_locations(context, files[0], NULL) || !SSL_CTX_use_certificate_chain_file(context, files[1]) ||
        !SSL_CTX_use_PrivateKey_file(context, files[2], SSL_FILETYPE_PEM))
        die("keys");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    return context;
}

static void begin_process(void) {
    signal(SIGPIPE, SIG_IGN);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    epoll = epoll_create1(0);
}

#endif
