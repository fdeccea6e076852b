/* A relay to compare ours with, and the load for both: mutual TLS, the frames of the wire, one thread, epoll.
 *
 * relay serve CA CERT KEY                                says its port, and relays until standard input ends
 * relay pairs PORT CA CERT KEY PAIRS SIZE TOTAL SLOW     TOTAL bytes in messages of SIZE, from PAIRS senders to as many
 *                                                        receivers, of which the first SLOW read nothing until all
 *                                                        others are done; says "connected", waits for a line,
 *                                                        says the seconds that the others took, waits for a line
 * relay ping PORT CA CERT KEY SIZE COUNT                 one pair, back and forth; says p50 and p99, microseconds
 *
 * The relay keeps whole messages in memory until their receiver takes them, and does not read a sender whose receiver
 * has HIGH bytes waiting. It checks no identities and keeps no delivered message.
 */
#include "relay.h"

enum { HIGH = 1 << 20, BOXES = 1 << 16 };

struct box {
    struct buffer waiting;
    struct connection *reader;
    struct connection *held; /* the sender that waits until this box has room */
};

static struct box boxes[BOXES];

/* -- the relay ---------------------------------------------------------------------------------------------------- */

static void relay_readable(struct connection *connection);

static unsigned wanted(struct connection *connection) {
    unsigned events = connection->paused ? 0 : EPOLLIN;
    if (connection->greeted && boxes[connection->number].reader == connection) {
        struct buffer *waiting = &boxes[connection->number].waiting;
        if (waiting->from < waiting->to) events |= EPOLLOUT;
    }
    return events;
}

static void deliver(struct box *box) {
    struct connection *reader = box->reader;
    if (!reader) return;
    drain(reader, &box->waiting);
    watch(reader, wanted(reader));
    if (box->held && box->waiting.to - box->waiting.from < HIGH / 2) {
        struct connection *held = box->held;
        box->held = NULL;
        held->paused = 0;
        watch(held, wanted(held));
        relay_readable(held); /* what OpenSSL has read ahead wakes no event */
    }
}

static void greet(struct connection *connection, const char *greeting, size_t size) {
    char text[256];
    if (size >= sizeof text) die("greeting");
    memcpy(text, greeting, size);
    text[size] = 0;
    if (sscanf(text, "HELLO_STATE2:bench:%d:%d:", &connection->number, &connection->next) != 2) die(text);
    connection->greeted = 1;
    boxes[connection->number].reader = connection;
    deliver(&boxes[connection->number]);
}

static void leave(struct connection *connection) {
    if (connection->greeted && boxes[connection->number].reader == connection) boxes[connection->number].reader = NULL;
    for (int at = 0; at < BOXES; at++)
        if (boxes[at].held == connection) boxes[at].held = NULL;
    epoll_ctl(epoll, EPOLL_CTL_DEL, connection->fd, NULL);
    SSL_free(connection->ssl);
    close(connection->fd);
    free(connection->in.data);
    free(connection);
}

/* Pass on the whole frames that have come. */
static void pass_on(struct connection *connection) {
    struct buffer *in = &connection->in;
    struct box *box = NULL;
    size_t at = in->from, start = at;
    while (in->to - at >= HEADER) {
        size_t size = strtoul(in->data + at, NULL, 10);
        if (in->to - at < HEADER + size) break;
        if (!connection->greeted) {
            greet(connection, in->data + at + HEADER, size);
            start = at + HEADER + size;
        }
        at += HEADER + size;
    }
    if (at > start) {
        box = &boxes[connection->next];
        append(&box->waiting, in->data + start, at - start);
    }
    in->from = at;
    if (!box) return;
    if (box->waiting.to - box->waiting.from > HIGH && box->reader) {
        box->held = connection;
        connection->paused = 1;
        watch(connection, wanted(connection));
    }
    deliver(box);
}

static void relay_readable(struct connection *connection) {
    while (!connection->paused) {
        int got = SSL_read(connection->ssl, scratch, READ);
        if (got <= 0) {
            int why = SSL_get_error(connection->ssl, got);
            ERR_clear_error();
            if (why != SSL_ERROR_WANT_READ) leave(connection);
            return;
        }
        append(&connection->in, scratch, got);
        pass_on(connection);
    }
}

static void serve_one(struct connection *connection, unsigned events) {
    if (events & EPOLLOUT) deliver(&boxes[connection->number]);
    /* One that was freed by what an earlier event led to is not in this turn: only its own event does. */
    if (events & ~(unsigned)EPOLLOUT) relay_readable(connection);
}

/* -- the load ----------------------------------------------------------------------------------------------------- */

static struct connection *greet_as(int port, SSL_CTX *context, int number, int next) {
    char greeting[128];
    snprintf(greeting, sizeof greeting, "HELLO_STATE2:bench:%d:%d:0:0", number, next);
    return dial(port, context, greeting);
}

/* A message: its header, its number in sixteen digits, and filling. */
static char *message_of(size_t size) {
    char *message = malloc(HEADER + size + 32);
    if (!message) die("memory");
    memset(message, 'x', HEADER + size);
    char header[32];
    snprintf(header, sizeof header, "%012zu ", size);
    memcpy(message, header, HEADER);
    return message;
}

static void number_message(char *message, long number) {
    char digits[32];
    snprintf(digits, sizeof digits, "%016ld", number);
    memcpy(message + HEADER, digits, 16);
}

/* A sender goes on where it has stopped; each has a message of its own, as half of one may be sent. */
static void more(struct connection *connection, size_t size) {
    struct buffer *out = &connection->in;
    for (int burst = 0; connection->left; burst++) {
        if (!connection->sent) number_message(out->data, connection->expected);
        int sent = SSL_write(connection->ssl, out->data + connection->sent, (int)(HEADER + size - connection->sent));
        if (sent <= 0) {
            ERR_clear_error();
            return;
        }
        connection->sent += sent;
        if (connection->sent == HEADER + size) {
            connection->sent = 0;
            connection->expected++;
            connection->left--;
        }
        if (burst == 64) return; /* let others have a turn */
    }
    watch(connection, 0);
}

/* Count what has come, and check each message's length and number. Returns how many messages are complete. */
static long count_messages(struct connection *connection, size_t size) {
    long complete = 0;
    for (;;) {
        int got = SSL_read(connection->ssl, scratch, READ);
        if (got <= 0) {
            if (SSL_get_error(connection->ssl, got) != SSL_ERROR_WANT_READ) die("the relay has closed a connection");
            ERR_clear_error();
            return complete;
        }
        char *data = scratch;
        while (got) {
            if (connection->sent < HEADER + 16) {
                size_t part = HEADER + 16 - connection->sent;
                if (part > (size_t)got) part = got;
                append(&connection->in, data, part);
                connection->sent += part;
                data += part, got -= (int)part;
                if (connection->sent == HEADER + 16) {
                    char *head = connection->in.data + connection->in.from;
                    connection->in.from += HEADER + 16;
                    if (strtoul(head, NULL, 10) != size) die("a message has another length");
                    char digits[17] = {0};
                    memcpy(digits, head + HEADER, 16);
                    if (strtol(digits, NULL, 10) != connection->expected) die("a message is not the next");
                }
            } else {
                size_t part = HEADER + size - connection->sent;
                if (part > (size_t)got) part = got;
                connection->sent += part;
                data += part, got -= (int)part;
            }
            if (connection->sent == HEADER + size) {
                connection->sent = 0;
                connection->expected++;
                complete++;
            }
        }
    }
}

static int pairs(int port, SSL_CTX *context, long count, size_t size, long total, long slow) {
    struct connection **ends = calloc(2 * count, sizeof *ends);
    long each = total / (long)size / count;
    if (each < 1) each = 1;
    for (long at = 0; at < count; at++) {
        ends[2 * at + 1] = greet_as(port, context, (int)(2 * at + 1), (int)(2 * at));
        ends[2 * at] = greet_as(port, context, (int)(2 * at), (int)(2 * at + 1));
        ends[2 * at]->sender = 1;
        ends[2 * at]->left = each;
        ends[2 * at]->in.data = message_of(size);
    }
    printf("connected\n");
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) return 0;
    double begun = now();
    for (long at = 0; at < count; at++) {
        watch(ends[2 * at], EPOLLOUT);
        if (at >= slow) watch(ends[2 * at + 1], EPOLLIN);
    }
    long left = each * count, left_of_slow = each * slow;
    double fast = 0;
    struct epoll_event events[EVENTS];
    while (left) {
        int ready = epoll_wait(epoll, events, EVENTS, 20000);
        if (ready <= 0) die("nothing comes any more");
        for (int at = 0; at < ready; at++) {
            struct connection *connection = events[at].data.ptr;
            if (connection->sender)
                more(connection, size);
            else
                left -= count_messages(connection, size);
        }
        if (!fast && left <= left_of_slow) {
            fast = now() - begun;
            for (long at = 0; at < slow; at++) watch(ends[2 * at + 1], EPOLLIN);
        }
    }
    printf("%.6f %ld\n", fast, each * count * (long)size);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 0; /* the bench has measured memory */
    return 0;
}

static int compare(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static int ping(int port, SSL_CTX *context, size_t size, long count) {
    struct connection *one = greet_as(port, context, 0, 1), *other = greet_as(port, context, 1, 0);
    char *message = message_of(size);
    double *times = calloc(count, sizeof *times);
    struct epoll_event events[2];
    watch(one, EPOLLIN);
    watch(other, EPOLLIN);
    for (long at = 0; at < count; at++) {
        double begun = now();
        number_message(message, at);
        if (SSL_write(one->ssl, message, (int)(HEADER + size)) <= 0) die("ping");
        for (int back = 0; !back;) {
            int ready = epoll_wait(epoll, events, 2, 20000);
            if (ready <= 0) die("no pong");
            for (int event = 0; event < ready; event++) {
                struct connection *connection = events[event].data.ptr;
                if (!count_messages(connection, size)) continue;
                if (connection == one)
                    back = 1;
                else if (SSL_write(other->ssl, message, (int)(HEADER + size)) <= 0)
                    die("pong");
            }
        }
        times[at] = (now() - begun) * 1e6;
    }
    qsort(times, count, sizeof *times, compare);
    printf("%.1f %.1f\n", times[count / 2], times[count * 99 / 100]);
    return 0;
}

int main(int argc, char **argv) {
    begin_process();
    if (argc == 5 && !strcmp(argv[1], "serve"))
        return serve_peers(context_of(TLS_server_method(), argv + 2), serve_one, NULL);
    if (argc == 10 && !strcmp(argv[1], "pairs"))
        return pairs(atoi(argv[2]), context_of(TLS_client_method(), argv + 3), atol(argv[6]), (size_t)atol(argv[7]),
                     atol(argv[8]), atol(argv[9]));
    if (argc == 8 && !strcmp(argv[1], "ping"))
        return ping(atoi(argv[2]), context_of(TLS_client_method(), argv + 3), (size_t)atol(argv[6]), atol(argv[7]));
    fprintf(stderr, "usage: relay serve CA CERT KEY | pairs PORT CA CERT KEY PAIRS SIZE TOTAL SLOW | "
                    "ping PORT CA CERT KEY SIZE COUNT\n");
    return 2;
}
