/* N workers of one job, as light as they can be: mutual TLS, the frames of the wire, and the redials of real ones.
 *
 * workers HOST PORT CA CERT KEY N JOB FAST
 *
 * Worker I greets with launch id JOB/0-I. "run:sleep T" with T below FAST is answered at once, any other run never; an
 * echo, a kill, a reset and a ping are answered as a worker answers them, a quit ends the worker. A worker that loses its
 * connection dials again after a random pause of at most half a second, doubled with each failure up to 4 s.
 *
 * A worker counts as accepted from the first command on its connection to that connection's end. Whenever there is a
 * first one, and whenever all N are, that is said, in seconds of CLOCK_MONOTONIC. Ends when standard input does, or all
 * workers have been sent `quit:`. One thread, epoll.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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

enum { HEADER = 13, BUFFER = 8192 };
static const double FIRST_PAUSE = 0.5, LONGEST_PAUSE = 4.0, DIAL_TIMEOUT = 10.0;

enum phase { WAITING, CONNECTING, SHAKING, UP, GONE };

struct worker {
    SSL *ssl;
    int fd;
    enum phase phase;
    double due; /* of the next dial, or of giving this one up */
    double pause;
    int accepted;
    int connections;
    int running;
    size_t filled;
    char buffer[BUFFER];
};

static int epoll;
static long count, left, accepted, fast;
static const char *job;
static struct worker *workers;
static SSL_CTX *context;
static struct sockaddr_in where;

static void die(const char *what) {
    fprintf(stderr, "workers: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void watch(struct worker *worker, unsigned events, int operation) {
    struct epoll_event event = {.events = events, .data = {.ptr = worker}};
    if (epoll_ctl(epoll, operation, worker->fd, &event) < 0) die("epoll_ctl");
}

static void hang_up(struct worker *worker) {
    if (worker->ssl) SSL_free(worker->ssl);
    worker->ssl = NULL;
    if (worker->fd >= 0) close(worker->fd);
    worker->fd = -1;
}

static void lost(struct worker *worker) {
    hang_up(worker);
    accepted -= worker->accepted;
    worker->accepted = 0;
    worker->phase = WAITING;
    worker->due = now() + worker->pause * drand48();
    worker->pause = worker->pause * 2 < LONGEST_PAUSE ? worker->pause * 2 : LONGEST_PAUSE;
}

static void send_frame(struct worker *worker, const char *payload) {
    char frame[BUFFER + HEADER + 1];
    int size = snprintf(frame, sizeof frame, "%012zu %s", strlen(payload), payload);
    /* Small frames on loopback: the socket's buffer takes them whole. */
    if (worker->ssl && SSL_write(worker->ssl, frame, size) <= 0) ERR_clear_error();
}

static void greet(struct worker *worker) {
    char greeting[256];
    snprintf(greeting, sizeof greeting,
             "OK:HELLO:{\"version\":1,\"launch_id\":\"%s/0-%td\",\"deadline_ms\":900000,\"memory_mb\":128%s}", job,
             worker - workers, worker->connections > 1 ? ",\"redial\":true" : "");
    send_frame(worker, greeting);
}

static void accept_it(struct worker *worker) {
    worker->accepted = 1;
    worker->pause = FIRST_PAUSE;
    if (accepted++ == 0) printf("first %.6f\n", now());
    if (accepted == count) printf("all %.6f\n", now());
    fflush(stdout);
}

static void ran(struct worker *worker, int status) {
    char reply[64];
    snprintf(reply, sizeof reply, "OK:RETVAL(%d):OUTPUT():COMMAND(x)", status);
    worker->running = 0;
    send_frame(worker, reply);
}

static void obey(struct worker *worker, const char *command, size_t size) {
    if (!worker->accepted) accept_it(worker);
    if (size >= 5 && !memcmp(command, "quit:", 5)) {
        hang_up(worker);
        worker->phase = GONE;
        left--;
    } else if (size >= 5 && !memcmp(command, "echo:", 5)) {
        char reply[BUFFER];
        snprintf(reply, sizeof reply, "OK:ECHO(%.*s)", (int)size - 5, command + 5);
        send_frame(worker, reply);
    } else if (size >= 5 && !memcmp(command, "ping:", 5)) {
        char reply[64];
        snprintf(reply, sizeof reply, "OK:PONG(%.*s)", (int)(size - 5 < 40 ? size - 5 : 40), command + 5);
        send_frame(worker, reply);
    } else if (size >= 5 && !memcmp(command, "kill:", 5)) {
        int ran_one = worker->running;
        if (ran_one) ran(worker, -9);
        send_frame(worker, ran_one ? "OK:KILL(1)" : "OK:KILL(0)");
    } else if (size >= 6 && !memcmp(command, "reset:", 6)) {
        worker->running = 0;
        greet(worker);
    } else if (size > 10 && !memcmp(command, "run:sleep ", 10)) {
        worker->running = 1;
        if (strtol(command + 10, NULL, 10) < fast) ran(worker, 0);
    }
}

static void readable(struct worker *worker) {
    for (;;) {
        int got = SSL_read(worker->ssl, worker->buffer + worker->filled, (int)(BUFFER - worker->filled));
        if (got <= 0) {
            if (SSL_get_error(worker->ssl, got) != SSL_ERROR_WANT_READ) {
                ERR_clear_error();
                lost(worker);
            }
            return;
        }
        worker->filled += (size_t)got;
        size_t at = 0;
        while (worker->filled - at >= HEADER) {
            size_t size = strtoul(worker->buffer + at, NULL, 10);
            if (size > BUFFER - HEADER) die("a command is too long");
            if (worker->filled - at < HEADER + size) break;
            obey(worker, worker->buffer + at + HEADER, size);
            if (worker->phase != UP) return;
            at += HEADER + size;
        }
        memmove(worker->buffer, worker->buffer + at, worker->filled - at);
        worker->filled -= at;
    }
}

static void dial(struct worker *worker) {
    worker->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (worker->fd < 0) die("socket");
    worker->filled = 0;
    worker->due = now() + DIAL_TIMEOUT;
    worker->phase = CONNECTING;
    if (connect(worker->fd, (const struct sockaddr *)&where, sizeof where) < 0 && errno != EINPROGRESS)
        lost(worker);
    else
        watch(worker, EPOLLOUT, EPOLL_CTL_ADD);
}

static void shake(struct worker *worker) {
    int done = SSL_do_handshake(worker->ssl);
    if (done == 1) {
        worker->phase = UP;
        worker->running = 0;
        worker->connections++;
        greet(worker);
        readable(worker);
    } else if (SSL_get_error(worker->ssl, done) != SSL_ERROR_WANT_READ) {
        ERR_clear_error();
        lost(worker);
    }
}

static void connected(struct worker *worker) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(worker->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        lost(worker);
        return;
    }
    worker->ssl = SSL_new(context);
    SSL_set_fd(worker->ssl, worker->fd);
    SSL_set_connect_state(worker->ssl);
    worker->phase = SHAKING;
    watch(worker, EPOLLIN, EPOLL_CTL_MOD);
    shake(worker);
}

/* Dial for each worker that is due; how long until the next one is, in milliseconds. */
static int dial_due(void) {
    double at = now(), next = at + 60;
    for (struct worker *worker = workers; worker < workers + count; worker++) {
        if (worker->phase == UP || worker->phase == GONE) continue;
        if (worker->due <= at) {
            if (worker->phase == WAITING)
                dial(worker);
            else
                lost(worker);
        }
        if (worker->due < next) next = worker->due;
    }
    return (int)((next - at) * 1000) + 1;
}

static void serve(void) {
    struct epoll_event events[256];
    struct epoll_event input = {.events = EPOLLIN, .data = {.ptr = NULL}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0) die("stdin");
    while (left) {
        int ready = epoll_wait(epoll, events, 256, dial_due());
        for (int at = 0; at < ready; at++) {
            struct worker *worker = events[at].data.ptr;
            if (worker == NULL) {
                char line[64];
                if (read(STDIN_FILENO, line, sizeof line) <= 0) return;
            } else if (worker->phase == CONNECTING) {
                connected(worker);
            } else if (worker->phase == SHAKING) {
                shake(worker);
            } else if (worker->phase == UP) {
                readable(worker);
            }
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 9) {
        fprintf(stderr, "usage: workers HOST PORT CA CERT KEY N JOB FAST\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    where = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &where.sin_addr);
    context = SSL_CTX_new(TLS_client_method());
    if (!SSL_CTX_load_verify_locations(context, argv[3], NULL) || !SSL_CTX_use_certificate_chain_file(context, argv[4]) ||
        !SSL_CTX_use_PrivateKey_file(context, argv[5], SSL_FILETYPE_PEM))
        die("keys");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    count = left = atol(argv[6]);
    job = argv[7];
    fast = atol(argv[8]);
    workers = calloc((size_t)count, sizeof *workers);
    epoll = epoll_create1(0);
    if (!workers || epoll < 0) die("start");
    for (long at = 0; at < count; at++) workers[at] = (struct worker){.fd = -1, .pause = FIRST_PAUSE, .due = now()};
    serve();
    return 0;
}
