/* A load of N workers: mutual TLS, the frames of the wire, and an answer to every echo.
 *
 * load HOST PORT CA CERT KEY N PERIOD
 *
 * Dials N times, at most HANDSHAKES at once, and says "connected". At a line on standard input every connection
 * greets; from then on "echo:TEXT" is answered with "OK:ECHO(TEXT)", but for "echo:hold", which never is, and a reset
 * by greeting again. A quit closes its connection. Where PERIOD is not 0, they greet one after another in the first
 * PERIOD, and answer so many milliseconds after they were asked. Ends when standard input does. One thread, epoll.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 13, BUFFER = 4096, HANDSHAKES = 64 };

struct worker {
    SSL *ssl;
    int fd;
    int closed;
    double due; /* of its message */
    struct worker *later; /* the next one that has a message to send, due after it */
    size_t filled, ready;
    char message[128]; /* that is to be sent */
    char buffer[BUFFER];
};

static int epoll;
static long remaining;
static double period;
static struct worker *workers, *soonest, **latest = &soonest;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void watch(struct worker *worker, unsigned events, int operation) {
    struct epoll_event event = {.events = events, .data = {.ptr = worker}};
    if (epoll_ctl(epoll, operation, worker->fd, &event) < 0) die("epoll_ctl");
}

static void send_frame(struct worker *worker, const char *payload, size_t size) {
    char frame[BUFFER + HEADER + 1];
    int head = snprintf(frame, sizeof frame, "%012zu ", size);
    memcpy(frame + head, payload, size);
    /* Small frames on loopback: the socket's buffer takes them whole. */
    if (SSL_write(worker->ssl, frame, head + (int)size) <= 0) die("write");
}

/* Sends it now, or after so many seconds: not before what was said earlier. */
static void say(struct worker *worker, const char *payload, size_t size, double pause) {
    if (!period) {
        send_frame(worker, payload, size);
        return;
    }
    if (worker->ready || size > sizeof worker->message) die("one short message at a time");
    memcpy(worker->message, payload, worker->ready = size);
    worker->due = now() + pause;
    worker->later = NULL;
    *latest = worker;
    latest = &worker->later;
}

/* Sends what is due; in how many milliseconds the next one is, or -1. */
static int send_due(void) {
    double at = now();
    while (soonest && soonest->due <= at) {
        struct worker *worker = soonest;
        soonest = worker->later;
        if (!soonest) latest = &soonest;
        if (!worker->closed) send_frame(worker, worker->message, worker->ready);
        worker->ready = 0;
    }
    return soonest ? (int)((soonest->due - at) * 1000) + 1 : -1;
}

/* As a worker of the job "bench" does. */
static void greet(struct worker *worker, double pause) {
    char greeting[128];
    int size = snprintf(greeting, sizeof greeting,
                        "OK:HELLO:{\"version\":1,\"launch_id\":\"bench/0-%td\",\"deadline_ms\":900000}", worker - workers);
    say(worker, greeting, (size_t)size, pause);
}

static void leave(struct worker *worker) {
    if (worker->closed) return;
    worker->closed = 1;
    remaining--;
    epoll_ctl(epoll, EPOLL_CTL_DEL, worker->fd, NULL);
    SSL_free(worker->ssl);
    close(worker->fd);
}

static void answer(struct worker *worker, const char *command, size_t size) {
    if (size >= 5 && !memcmp(command, "quit:", 5)) {
        leave(worker);
    } else if (size > 5 && !memcmp(command, "echo:", 5) && !(size == 9 && !memcmp(command + 5, "hold", 4))) {
        char reply[BUFFER];
        int length = snprintf(reply, sizeof reply, "OK:ECHO(%.*s)", (int)size - 5, command + 5);
        say(worker, reply, (size_t)length, period);
    } else if (size >= 6 && !memcmp(command, "reset:", 6)) {
        greet(worker, period);
    }
}

static void readable(struct worker *worker) {
    for (;;) {
        int got = SSL_read(worker->ssl, worker->buffer + worker->filled, (int)(BUFFER - worker->filled));
        if (got <= 0) {
            int why = SSL_get_error(worker->ssl, got);
            if (why != SSL_ERROR_WANT_READ) {
                ERR_clear_error();
                leave(worker);
            }
            return;
        }
        worker->filled += got;
        size_t at = 0;
        while (worker->filled - at >= HEADER) {
            size_t size = strtoul(worker->buffer + at, NULL, 10);
            if (size > BUFFER - HEADER) die("a command is too long");
            if (worker->filled - at < HEADER + size) break;
            answer(worker, worker->buffer + at + HEADER, size);
            if (worker->closed) return;
            at += HEADER + size;
        }
        memmove(worker->buffer, worker->buffer + at, worker->filled - at);
        worker->filled -= at;
    }
}

static void dial(struct worker *worker, SSL_CTX *context, const struct sockaddr_in *where) {
    worker->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (worker->fd < 0 || connect(worker->fd, (const struct sockaddr *)where, sizeof *where) < 0) die("connect");
    fcntl(worker->fd, F_SETFL, O_NONBLOCK);
    worker->ssl = SSL_new(context);
    SSL_set_fd(worker->ssl, worker->fd);
    SSL_set_connect_state(worker->ssl);
    watch(worker, EPOLLIN, EPOLL_CTL_ADD);
}

/* Whether the handshake is done. What comes before we greet is read later: else it would wake us again and again. */
static int shake(struct worker *worker) {
    int done = SSL_do_handshake(worker->ssl);
    if (done == 1) {
        watch(worker, 0, EPOLL_CTL_MOD);
        return 1;
    }
    if (SSL_get_error(worker->ssl, done) != SSL_ERROR_WANT_READ) die("handshake");
    return 0;
}

static void connect_all(long count, SSL_CTX *context, const struct sockaddr_in *where) {
    struct epoll_event events[HANDSHAKES];
    long dialled = 0, shaken = 0;
    while (shaken < count) {
        while (dialled < count && dialled - shaken < HANDSHAKES) {
            dial(&workers[dialled], context, where);
            shaken += shake(&workers[dialled++]); /* a server on another core may have answered already */
        }
        if (shaken == count) return;
        int ready = epoll_wait(epoll, events, HANDSHAKES, -1);
        for (int at = 0; at < ready; at++) shaken += shake(events[at].data.ptr);
    }
}

static void serve(void) {
    struct epoll_event events[256];
    struct epoll_event input = {.events = EPOLLIN, .data = {.ptr = NULL}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0) die("stdin");
    while (remaining) {
        int ready = epoll_wait(epoll, events, 256, send_due());
        for (int at = 0; at < ready; at++) {
            if (events[at].data.ptr == NULL) return;
            readable(events[at].data.ptr);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: load HOST PORT CA CERT KEY N PERIOD\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &where.sin_addr);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!SSL_CTX_load_verify_locations(context, argv[3], NULL) || !SSL_CTX_use_certificate_chain_file(context, argv[4]) ||
        !SSL_CTX_use_PrivateKey_file(context, argv[5], SSL_FILETYPE_PEM))
        die("keys");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    remaining = atol(argv[6]);
    period = atol(argv[7]) / 1e3;
    workers = calloc(remaining, sizeof *workers);
    epoll = epoll_create1(0);
    if (!workers || epoll < 0) die("start");
    long count = remaining;
    connect_all(count, context, &where);
    printf("connected\n");
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) return 0;
    for (long at = 0; at < count; at++) {
        greet(&workers[at], period * (double)at / (double)count);
        watch(&workers[at], EPOLLIN, EPOLL_CTL_MOD);
    }
    serve();
    return 0;
}
