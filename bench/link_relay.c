/* The part of a rendezvous that carries named messages, to compare ours with, and the load for both (docs/protocol.md).
 *
 * link_relay serve CA CERT KEY                           says its port, and serves until standard input ends
 * link_relay load PORT CA CERT KEY PAIRS SIZE COUNT      of PAIRS senders, each has COUNT messages of SIZE for a receiver
 *                                                        of its own; they send, wait and acknowledge as workers do; says
 *                                                        "connected", waits for a line, says the seconds
 *
 * The relay keeps every message, as it may be wanted again, delivers it where it is wanted, and acknowledges it. It checks
 * nothing, spills nothing, compares nothing with what an earlier attempt has sent, and knows one stream to a receiver.
 */
#include "relay.h"

enum { TASKS = 1 << 16, SENDING = 8, WANTED = 1024 }; /* messages that a worker sends, and waits for, at once */

static const char NAME[] = "stream";

struct message {
    char *frame; /* as it goes to its receiver, its header included */
    size_t size;
    int wanted, taken;
};

struct task {
    struct connection *connection;
    struct message *messages; /* to it, by their numbers */
    long room;
};

static struct task tasks[TASKS];
static struct connection *dirty;

/* -- frames ------------------------------------------------------------------------------------------------------- */

static void send_later(struct connection *connection) {
    if (connection->dirty) return;
    connection->dirty = 1;
    connection->next_dirty = dirty;
    dirty = connection;
}

static void send_text(struct connection *connection, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void send_text(struct connection *connection, const char *format, ...) {
    char frame[256];
    va_list values;
    va_start(values, format);
    int size = vsnprintf(frame + HEADER, sizeof frame - HEADER, format, values);
    va_end(values);
    char header[32];
    snprintf(header, sizeof header, "%012d ", size);
    memcpy(frame, header, HEADER);
    append(&connection->out, frame, (size_t)(HEADER + size));
    send_later(connection);
}

/* What has come together is answered together. */
static void send_all(void) {
    while (dirty) {
        struct connection *connection = dirty;
        dirty = connection->next_dirty;
        connection->dirty = 0;
        drain(connection, &connection->out);
        watch(connection, EPOLLIN | (connection->out.from < connection->out.to ? EPOLLOUT : 0));
    }
}

/* Whether a frame is of this kind; then it gives the two numbers of its header, and what stands behind these. */
static int is_frame(const char *frame, const char *kind, long *peer, long *number, const char **rest) {
    size_t length = strlen(kind);
    char *end;
    if (strncmp(frame, kind, length)) return 0;
    *peer = strtol(frame + length, &end, 10);
    *number = strtol(end + 1, &end, 10);
    *rest = end + 1;
    return 1;
}

/* Give each whole frame to a function. Returns 0 where the other side has closed. */
static int take_frames(struct connection *connection, void (*take)(struct connection *, const char *, size_t)) {
    for (;;) {
        int got = SSL_read(connection->ssl, scratch, READ);
        if (got <= 0) {
            int why = SSL_get_error(connection->ssl, got);
            ERR_clear_error();
            return why == SSL_ERROR_WANT_READ;
        }
        struct buffer *in = &connection->in;
        append(in, scratch, (size_t)got);
        while (in->to - in->from >= HEADER) {
            size_t size = strtoul(in->data + in->from, NULL, 10);
            if (in->to - in->from < HEADER + size) break;
            take(connection, in->data + in->from + HEADER, size);
            in->from += HEADER + size;
        }
    }
}

/* -- the relay ---------------------------------------------------------------------------------------------------- */

static struct message *message_to(struct task *task, long number) {
    if (number >= task->room) {
        long room = 2 * number + 64;
        task->messages = realloc(task->messages, (size_t)room * sizeof *task->messages);
        if (!task->messages) die("memory");
        memset(task->messages + task->room, 0, (size_t)(room - task->room) * sizeof *task->messages);
        task->room = room;
    }
    return &task->messages[number];
}

static void deliver(struct task *task, struct message *message) {
    if (!message->wanted || !message->frame || !task->connection) return;
    message->wanted = 0;
    append(&task->connection->out, message->frame, message->size);
    send_later(task->connection);
}

static void relay_frame(struct connection *connection, const char *frame, size_t size) {
    long peer, number;
    const char *rest;
    if (is_frame(frame, "WHOLE:", &peer, &number, &rest)) {
        struct task *task = &tasks[peer];
        struct message *message = message_to(task, number);
        char head[64];
        size_t left = size - (size_t)(rest - frame);
        int length = snprintf(head, sizeof head, "%012d WHOLE:%d:%ld:", 0, connection->number, number);
        char digits[32];
        snprintf(digits, sizeof digits, "%012zu", (size_t)length - HEADER + left);
        memcpy(head, digits, 12);
        message->size = (size_t)length + left;
        message->frame = malloc(message->size);
        if (!message->frame) die("memory");
        memcpy(message->frame, head, (size_t)length);
        memcpy(message->frame + length, rest, left);
        deliver(task, message);
        send_text(connection, "ACK:%ld:%ld:%s", peer, number, NAME);
    } else if (is_frame(frame, "WANT:", &peer, &number, &rest)) {
        struct task *task = &tasks[connection->number];
        struct message *message = message_to(task, number);
        message->wanted = 1;
        deliver(task, message);
    } else if (is_frame(frame, "ACK:", &peer, &number, &rest)) {
        message_to(&tasks[connection->number], number)->taken = 1;
    } else if (sscanf(frame, "HELLO_LINK:bench:%d:", &connection->number) == 1) {
        tasks[connection->number].connection = connection;
        send_text(connection, "OK:HELLO_LINK:{\"store\":\"0\",\"whole\":true}");
    } else {
        die("a frame that is not known");
    }
}

static void serve_one(struct connection *connection, unsigned events) {
    if (events & EPOLLOUT) send_later(connection);
    if (events & ~(unsigned)EPOLLOUT && !take_frames(connection, relay_frame)) {
        tasks[connection->number].connection = NULL;
        watch(connection, 0);
    }
}

/* -- the load ----------------------------------------------------------------------------------------------------- */

static const char DIGEST[] = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
static char *body;
static size_t body_size;
static long left, ready;
static int whole; /* whether the rendezvous takes messages of one frame */

static void send_message(struct connection *connection, long number) {
    char head[160], header[32];
    struct buffer *out = &connection->out;
    int length = whole ? snprintf(head, sizeof head, "WHOLE:%d:%ld:%s:%s", connection->next, number, DIGEST, NAME)
                       : snprintf(head, sizeof head, "SEND:%d:%ld:%zu:%s", connection->next, number, body_size, NAME);
    snprintf(header, sizeof header, "%012zu ", (size_t)length + 1 + body_size);
    append(out, header, HEADER);
    append(out, head, (size_t)length + 1); /* the NUL as well */
    append(out, body, body_size);
    if (!whole) send_text(connection, "END:%d:%ld:%s:%s", connection->next, number, DIGEST, NAME);
    send_later(connection);
}

static void take_message(struct connection *connection, long peer, long number) {
    if (number != ++connection->expected) die("a message is not the next");
    left--;
    send_text(connection, "ACK:%ld:%ld:%s", peer, number, NAME);
    if (connection->begun < connection->left)
        send_text(connection, "WANT:%d:%ld:%s", connection->next, ++connection->begun, NAME);
}

static void load_frame(struct connection *connection, const char *frame, size_t size) {
    long peer, number;
    const char *rest;
    if (is_frame(frame, "ACK:", &peer, &number, &rest)) {
        connection->left--;
        left--;
        if (connection->begun < connection->expected) send_message(connection, ++connection->begun);
    } else if (is_frame(frame, "WHOLE:", &peer, &number, &rest) || is_frame(frame, "SEND:", &peer, &number, &rest)) {
        if (memcmp(frame + size - body_size, body, body_size)) die("a message has other bytes");
        if (*frame == 'W') take_message(connection, peer, number);
    } else if (is_frame(frame, "END:", &peer, &number, &rest)) {
        take_message(connection, peer, number);
    } else if (!strncmp(frame, "OK:HELLO_LINK:", 14)) {
        whole = memmem(frame, size, "\"whole\":true", 12) != NULL;
        ready++;
    } else {
        fprintf(stderr, "%.*s\n", (int)size, frame);
        die("a frame that is not known");
    }
}

static void until(long *what, long goal) {
    struct epoll_event events[EVENTS];
    while (*what != goal) {
        send_all();
        int count = epoll_wait(epoll, events, EVENTS, 20000);
        if (count <= 0) die("nothing comes any more");
        for (int at = 0; at < count; at++) {
            struct connection *connection = events[at].data.ptr;
            if (events[at].events & EPOLLOUT) send_later(connection);
            if (events[at].events & ~EPOLLOUT && !take_frames(connection, load_frame)) die("a connection was closed");
        }
    }
}

static struct connection *greet_as(int port, SSL_CTX *context, int number, int next) {
    char greeting[128];
    snprintf(greeting, sizeof greeting, "HELLO_LINK:bench:%d:0:{\"whole\":true}", number);
    struct connection *connection = dial(port, context, greeting);
    connection->number = number;
    connection->next = next;
    watch(connection, EPOLLIN);
    return connection;
}

static int load(int port, SSL_CTX *context, long pairs, size_t size, long count) {
    struct connection **ends = calloc((size_t)(2 * pairs), sizeof *ends);
    if (!ends || !(body = malloc(size))) die("memory");
    memset(body, 'x', body_size = size);
    for (long at = 0; at < 2 * pairs; at++) ends[at] = greet_as(port, context, (int)at, (int)(at ^ 1));
    until(&ready, 2 * pairs);
    printf("connected\n");
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) return 0;
    double begun = now();
    for (long at = 0; at < pairs; at++) {
        struct connection *sender = ends[2 * at], *receiver = ends[2 * at + 1];
        receiver->left = count;
        while (receiver->begun < count && receiver->begun < WANTED)
            send_text(receiver, "WANT:%d:%ld:%s", receiver->next, ++receiver->begun, NAME);
        sender->expected = sender->left = count;
        while (sender->begun < count && sender->begun < SENDING) send_message(sender, ++sender->begun);
    }
    left = 2 * pairs * count; /* each is acknowledged, and each comes */
    until(&left, 0);
    send_all();
    printf("%.6f\n", now() - begun);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) continue; /* the connections stay until their cost is measured */
    return 0;
}

int main(int argc, char **argv) {
    begin_process();
    if (argc == 5 && !strcmp(argv[1], "serve"))
        return serve_peers(context_of(TLS_server_method(), argv + 2), serve_one, send_all);
    if (argc == 9 && !strcmp(argv[1], "load"))
        return load(atoi(argv[2]), context_of(TLS_client_method(), argv + 3), atol(argv[6]), (size_t)atol(argv[7]),
                    atol(argv[8]));
    fprintf(stderr, "usage: link_relay serve CA CERT KEY | load PORT CA CERT KEY PAIRS SIZE COUNT\n");
    return 2;
}
