#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/x509.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 128,
    ADOPTIONS = 32,          /* of one turn: a receiver has to be made for each */
    TURN_OF_ALL = 2 << 20,   /* bytes that one turn reads; the rest is ready again in the next */
    FLUSH_SIZE = 64 << 10,   /* so much is sent at once, not only at the turn's end */
    POLL_TIME = 50000,       /* nanoseconds */
    POLL_AGAIN = 64,         /* turns that follow passing on, after one that polled in vain */
    MOST_PASSED = 128 << 10, /* of a longer bundle its user decides, who sends it piece by piece */
};

struct transport_core {
    handshake_pool *pool;
    size_t max_unsent;
    int epoll;
    unsigned unpolled; /* so many turns are not to poll */
    int listening;
    uint64_t turn;
    bool listens, in_turn, armed;
    connection *arrived, **arrived_end; /* whose handshakes are done, and that are to be adopted */
    connection *first;               /* all that are connected, or lost and not yet said so */
    connection *queued, **queue_end; /* that are to be looked at in the next turn, whatever epoll says */
    connection *dirty;               /* that have something to send */
    char buffer[CONNECTION_RECORD];
};

/* -- what is to be done --------------------------------------------------------------------------------------------- */

/* Has the descriptor be readable, so that a turn comes; in a turn there is no need until its end. */
static void arm(transport_core *core)
{
    if (core->in_turn || core->armed)
        return;
    core->armed = true;
    pool_wake(core->pool);
}

static void look_later(transport_core *core, connection *c)
{
    if (!c->queued) {
        c->queued = true;
        c->next_queued = NULL;
        *core->queue_end = c;
        core->queue_end = &c->next_queued;
    }
    arm(core);
}

static void note(transport_core *core, connection *c, unsigned notes)
{
    c->notes |= notes;
    look_later(core, c);
}

static void send_later(transport_core *core, connection *c)
{
    if (!c->dirty) {
        c->dirty = true;
        c->next_dirty = core->dirty;
        core->dirty = c;
    }
    arm(core);
}

static void lose(transport_core *core, connection *c, failure why, bool reset)
{
    if (c->lost)
        return;
    if (c->why.kind == FAILURE_NONE)
        c->why = why;
    connection_drop(c, reset);
    pool_connection_ended(core->pool);
    note(core, c, NOTE_LOST);
}

/* -- one connection ------------------------------------------------------------------------------------------------- */

static void set_interest(transport_core *core, connection *c)
{
    if (c->lost)
        return;
    const uint32_t wanted = (c->paused ? 0 : EPOLLIN) | (c->blocked || c->wants_write ? EPOLLOUT : 0);
    if (wanted == c->interest)
        return;
    struct epoll_event event = {.events = wanted, .data = {.ptr = c}};
    c->interest = wanted;
    if (epoll_ctl(core->epoll, EPOLL_CTL_MOD, c->fd, &event) < 0)
        lose(core, c, (failure){.kind = FAILURE_BROKE, .code = errno}, true);
}

/* Returns what has changed: NOTE_BLOCKED, NOTE_DRAINED, or 0. */
static unsigned send_some(transport_core *core, connection *c)
{
    if (c->lost)
        return 0;
    const step came = connection_flush(c);
    if (came == STEP_FAILED) {
        lose(core, c, c->why, true);
        return 0;
    }
    const bool blocked = came != STEP_DONE, changed = blocked != c->blocked;
    c->blocked = blocked;
    set_interest(core, c);
    return changed ? blocked ? NOTE_BLOCKED : NOTE_DRAINED : 0;
}

static void flush(transport_core *core, connection *c)
{
    const unsigned changed = send_some(core, c);
    if (changed && c->watched)
        note(core, c, changed);
}

/* A call of the core's sink with what one read has brought. */
typedef struct {
    const core_sink *sink;
    void *context;
    connection *connection;
    bool completed;
} reading;

static bool take_frame(void *given, const char *payload, size_t size)
{
    reading *at = given;
    at->completed = true;
    return at->sink->frame(at->context, at->connection, payload, size);
}

/* Sends a bundle to where it is to go at once, if that takes it; returns where it went, or NULL. What cannot be sent is
 * the user's: it is never taken half. */
static connection *pass_on(connection *c, bundle *taken, const core_sink *sink, void *context)
{
    connection *to = taken->size > MOST_PASSED ? NULL : sink->route(context, c);
    if (!to || to->lost || to->closing || to->blocked || !connection_add_bundle(to, taken, taken->data, taken->size))
        return NULL;
    send_later(to->home, to);
    return to;
}

/* The peer has said its last: what it may still read is sent, and our own end. */
static void answer_end(connection *c)
{
    c->closing = true;
    (void)connection_flush(c);
}

/* Reads what one turn may, once in a turn. */
static size_t serve(transport_core *core, connection *c, const core_sink *sink, void *context)
{
    size_t read = 0;
    if (c->lost || c->paused || c->turn == core->turn)
        return 0;
    c->turn = core->turn;
    c->more = false;
    reading at = {.sink = sink, .context = context, .connection = c};
    const step came = connection_read(c, core->buffer, take_frame, &at, &read);
    bundle *taken = NULL;
    if (!c->closing && !bundle_take(&c->bundles, &taken))
        lose(core, c, (failure){.kind = FAILURE_MEMORY}, true);
    if (taken) {
        at.completed = true;
        connection *to = pass_on(c, taken, sink, context);
        sink->bundled(context, c, taken, to);
        bundle_release(taken);
        if (to && connection_unsent(to) >= FLUSH_SIZE)
            flush(to->home, to);
    }
    if (c->lost)
        return read;
    const bool partial = !c->closing && connection_pending(c) > 0;
    if (partial || c->partial)
        sink->noted(context, c, NOTE_PARTIAL | (at.completed ? NOTE_COMPLETED : 0));
    c->partial = partial;
    c->wants_write = came == STEP_WAIT_WRITE;
    if (came == STEP_FAILED) {
        const failure why = c->why;
        if (why.kind == FAILURE_CLOSED)
            answer_end(c);
        c->why = why;
        lose(core, c, why, why.kind >= FAILURE_MALFORMED);
    } else if (came == STEP_DONE) {
        c->more = true;
        look_later(core, c);
    }
    set_interest(core, c);
    return read;
}

static void link_in(transport_core *core, connection *c)
{
    c->previous = NULL;
    c->next = core->first;
    if (core->first)
        core->first->previous = c;
    core->first = c;
}

static void unlink_from(transport_core *core, connection *c)
{
    if (c->previous)
        c->previous->next = c->next;
    else
        core->first = c->next;
    if (c->next)
        c->next->previous = c->previous;
}

/* -- a turn --------------------------------------------------------------------------------------------------------- */

/* A handshake is done: from here on the connection is served by this thread. TLS may have read more than it. */
static void adopt(transport_core *core, connection *c, const core_sink *sink, void *context)
{
    c->home = core;
    c->interest = EPOLLIN;
    link_in(core, c);
    struct epoll_event event = {.events = c->interest, .data = {.ptr = c}};
    sink->established(context, c);
    if (epoll_ctl(core->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        lose(core, c, (failure){.kind = FAILURE_BROKE, .code = errno}, true);
    else if (SSL_has_pending(c->ssl))
        look_later(core, c);
}

/* Takes what the pool has; connections wait for their adoption. */
static void take_over(transport_core *core, const core_sink *sink, void *context)
{
    report *reports;
    unsigned unreported, room_wanted;
    pool_take(core->pool, core->arrived_end, &reports, &unreported, &room_wanted);
    while (*core->arrived_end)
        core->arrived_end = &(*core->arrived_end)->next;
    for (report *next; reports; reports = next) {
        next = reports->next;
        sink->dropped(context, reports);
        free(reports);
    }
    if (unreported || room_wanted)
        sink->counted(context, unreported, room_wanted);
}

static void adopt_arrived(transport_core *core, unsigned most, const core_sink *sink, void *context)
{
    for (unsigned count = 0; core->arrived && count < most; count++) {
        connection *c = core->arrived;
        core->arrived = c->next;
        if (!core->arrived)
            core->arrived_end = &core->arrived;
        adopt(core, c, sink, context);
    }
}

static void flush_all(transport_core *core)
{
    connection *first = core->dirty;
    core->dirty = NULL;
    for (connection *next; first; first = next) {
        next = first->next_dirty;
        first->dirty = false;
        flush(core, first);
    }
}

/* Looks at one that was queued; the only place where a connection is freed. */
static size_t look_at(transport_core *core, connection *c, const core_sink *sink, void *context)
{
    size_t read = 0;
    if (!c->lost)
        read = serve(core, c, sink, context);
    const unsigned notes = c->notes;
    c->notes = 0;
    if (notes)
        sink->noted(context, c, notes);
    if (c->lost) {
        if (c->dirty) /* something was passed on to it in this turn */
            flush_all(core);
        unlink_from(core, c);
        connection_free(c);
        return read;
    }
    c->queued = false;
    if (c->more && !c->paused) /* else when it is to be read again */
        look_later(core, c);
    return read;
}

/* Those that come anew meanwhile are for the next turn. */
static size_t look_at_queued(transport_core *core, const core_sink *sink, void *context)
{
    size_t read = 0;
    connection *queued = core->queued;
    core->queued = NULL;
    core->queue_end = &core->queued;
    for (connection *next; queued; queued = next) {
        next = queued->next_queued;
        read += look_at(core, queued, sink, context);
    }
    return read;
}

static long long nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Looks again and again, for a moment, where that was not in vain of late: the answer of a peer that is near comes before
 * a thread that sleeps would be awake. As the halt polling of hypervisors. */
static int poll_events(transport_core *core, struct epoll_event *events)
{
    int ready = epoll_wait(core->epoll, events, EVENTS, 0);
    if (core->unpolled) {
        core->unpolled--;
    } else if (!ready) {
        const long long until = nanoseconds() + POLL_TIME;
        do {
            sched_yield();
            ready = epoll_wait(core->epoll, events, EVENTS, 0);
        } while (!ready && nanoseconds() < until);
        if (!ready)
            core->unpolled = POLL_AGAIN;
    }
    return ready;
}

void core_turn(transport_core *core, const core_sink *sink, void *context, bool polls)
{
    struct epoll_event events[EVENTS];
    core->in_turn = true;
    core->turn++;
    flush_all(core);
    size_t read = look_at_queued(core, sink, context);
    /* Only now: what was freed above is in no event. A new connection is read in a turn to come, when its user knows it. */
    const int ready =
        polls && !core->queued ? poll_events(core, events) : epoll_wait(core->epoll, events, EVENTS, 0);
    for (int at = 0; at < ready && read < TURN_OF_ALL; at++) {
        connection *c = events[at].data.ptr;
        if (!c) {
            core->armed = false;
            pool_woken(core->pool);
            take_over(core, sink, context);
            continue;
        }
        if (events[at].events & EPOLLOUT) {
            const unsigned changed = send_some(core, c);
            if (changed && c->watched)
                sink->noted(context, c, changed);
        }
        if (c->paused && events[at].events & (EPOLLERR | EPOLLHUP))
            lose(core, c, (failure){.kind = FAILURE_BROKE}, true);
        else if (events[at].events & (EPOLLIN | EPOLLERR | EPOLLHUP) || c->wants_write)
            read += serve(core, c, sink, context);
    }
    adopt_arrived(core, ADOPTIONS, sink, context);
    flush_all(core); /* what was passed on does not wait for the user */
}

void core_flush(transport_core *core)
{
    core->in_turn = true;
    flush_all(core);
    core->in_turn = false;
    if (core->queued || core->arrived)
        arm(core);
}

/* -- what the user does --------------------------------------------------------------------------------------------- */

static send_outcome added(transport_core *core, connection *c)
{
    if (c->blocked)
        return SEND_TAKEN;
    if (connection_unsent(c) >= FLUSH_SIZE)
        flush(core, c);
    else
        send_later(core, c);
    return SEND_TAKEN;
}

send_outcome core_send(connection *c, const core_payload *payloads, size_t count, bool framed)
{
    transport_core *core = c->home;
    if (c->lost || c->closing)
        return SEND_TAKEN;
    if (c->blocked && connection_unsent(c) > core->max_unsent)
        return SEND_REFUSED;
    for (size_t at = 0; at < count; at++) {
        char header[FRAME_HEADER];
        frame_header(header, payloads[at].size);
        if ((framed && !connection_add(c, header, sizeof header)) ||
            !connection_add(c, payloads[at].data, payloads[at].size))
            return SEND_NO_MEMORY;
    }
    return added(core, c);
}

send_outcome core_send_bundle(connection *c, bundle *of, const char *data, size_t size)
{
    transport_core *core = c->home;
    if (c->lost || c->closing)
        return SEND_TAKEN;
    if (c->blocked && connection_unsent(c) > core->max_unsent)
        return SEND_REFUSED;
    return connection_add_bundle(c, of, data, size) ? added(core, c) : SEND_NO_MEMORY;
}

void core_bundle(connection *c)
{
    transport_core *core = c->home;
    if (c->lost || c->closing)
        return;
    if (!connection_bundle(c))
        lose(core, c, c->why, true);
    else if (c->bundles.whole || c->rest.end)
        look_later(core, c);
}

void core_pause(connection *c, bool paused)
{
    transport_core *core = c->home;
    if (c->lost || c->paused == paused)
        return;
    c->paused = paused;
    set_interest(core, c);
    if (!paused)
        look_later(core, c); /* TLS, or the turn that was cut short, may hold what the socket has not */
}

void core_read_at_once(connection *c, size_t size)
{
    c->turn_bytes = size < CONNECTION_RECORD ? CONNECTION_RECORD : size < TURN_BYTES ? size : TURN_BYTES;
}

void core_watch(connection *c, bool watched)
{
    c->watched = watched;
}

void core_finish(connection *c)
{
    transport_core *core = c->home;
    if (c->lost || c->closing)
        return;
    core_pause(c, false);
    c->closing = true;
    frame_reader_clear(&c->reader);
    bundle_reader_clear(&c->bundles);
    if (!c->blocked)
        send_later(core, c);
}

void core_abort(connection *c)
{
    lose(c->home, c, (failure){.kind = FAILURE_ENDED}, true);
}

size_t core_certificate(const connection *c, unsigned char **der)
{
    X509 *leaf = c->lost ? NULL : SSL_get0_peer_certificate(c->ssl);
    *der = NULL;
    const int size = leaf ? i2d_X509(leaf, der) : 0;
    return size > 0 ? (size_t)size : 0;
}

/* -- beginning and end ---------------------------------------------------------------------------------------------- */

transport_core *core_new(SSL_CTX *context, const pool_options *options, size_t max_unsent, const char **fault)
{
    transport_core *made = calloc(1, sizeof *made);
    if (!made) {
        SSL_CTX_free(context);
        *fault = strerror(ENOMEM);
        return NULL;
    }
    made->max_unsent = max_unsent;
    made->queue_end = &made->queued;
    made->arrived_end = &made->arrived;
    made->listening = -1;
    made->pool = pool_new(context, options, fault);
    made->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = NULL}};
    if (made->pool && made->epoll >= 0 &&
        epoll_ctl(made->epoll, EPOLL_CTL_ADD, pool_descriptor(made->pool), &event) == 0)
        return made;
    if (made->pool)
        *fault = strerror(errno);
    core_free(made);
    return NULL;
}

bool core_listen(transport_core *core, int listening, const char **fault)
{
    if (core->listens) {
        *fault = "it listens already";
        return false;
    }
    core->listening = fcntl(listening, F_DUPFD_CLOEXEC, 0);
    if (core->listening < 0) {
        *fault = strerror(errno);
        return false;
    }
    core->listens = pool_start(core->pool, core->listening, fault);
    if (!core->listens) {
        close(core->listening);
        core->listening = -1;
    }
    return core->listens;
}

void core_stop_listening(transport_core *core)
{
    if (!core->listens)
        return;
    core->listens = false;
    pool_stop(core->pool);
    close(core->listening);
    core->listening = -1;
}

int core_descriptor(const transport_core *core)
{
    return core->epoll;
}

void core_end(transport_core *core, const core_sink *sink, void *context)
{
    core_stop_listening(core);
    core->in_turn = true;
    flush_all(core);
    take_over(core, sink, context);
    adopt_arrived(core, UINT_MAX, sink, context);
    for (connection *c = core->first, *next; c; c = next) {
        next = c->next;
        lose(core, c, (failure){.kind = FAILURE_ENDED}, false);
    }
    (void)look_at_queued(core, sink, context);
    core->in_turn = false;
}

static void ignore_bundle(void *context, connection *c, bundle *taken, connection *passed_to)
{
    (void)context, (void)c, (void)taken, (void)passed_to;
}

static connection *no_route(void *context, connection *c)
{
    (void)context, (void)c;
    return NULL;
}

static void ignore_connection(void *context, connection *c)
{
    (void)context, (void)c;
}

static void ignore_notes(void *context, connection *c, unsigned notes)
{
    (void)context, (void)c, (void)notes;
}

static void ignore_report(void *context, const report *what)
{
    (void)context, (void)what;
}

static void ignore_counts(void *context, unsigned unreported, unsigned room_wanted)
{
    (void)context, (void)unreported, (void)room_wanted;
}

void core_free(transport_core *core)
{
    static const core_sink ignore = {
        .established = ignore_connection, .bundled = ignore_bundle, .route = no_route, .noted = ignore_notes,
        .dropped = ignore_report, .counted = ignore_counts};
    if (core->pool) {
        core_end(core, &ignore, NULL);
        pool_free(core->pool);
    }
    if (core->epoll >= 0)
        close(core->epoll);
    free(core);
}

handshake_pool *core_pool(transport_core *core)
{
    return core->pool;
}
