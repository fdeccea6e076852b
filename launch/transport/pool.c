#include "pool.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 64,
    ACCEPTS = 16,    /* at most, between two looks at the handshakes */
    TOGETHER = 8,    /* connections that are handed over at once, at most: each time wakes the reactor's thread */
    TOGETHER_MS = 5, /* for which the first of them waits at most, while others have their handshakes */
    REPORTS = 1024,  /* that wait at most; of the others only the number is kept */
    STACK = 512 << 10,
};
#define SECOND 1000000000ll
#define RETRY_ACCEPT (SECOND / 4)
#define NEVER INT64_MAX

typedef struct {
    handshake_pool *pool;
    pthread_t thread;
    int epoll, wake;
    bool listens;
    int64_t retry_at; /* when it may accept again, after there was no descriptor left */
    int64_t look_at;  /* when the first handshake may be late */
    connection *first, *last; /* its handshakes, oldest first */
    connection *done_first, *done_last; /* to be handed over */
    unsigned done;
    int64_t done_since;
    atomic_bool waits;
} worker;

struct handshake_pool {
    SSL_CTX *context;
    pool_options options;
    int64_t handshake_timeout, stall_timeout;
    int listening;
    int wake;
    worker *workers;
    unsigned started;
    atomic_bool ending;
    atomic_bool full; /* from max_handshakes on, until a quarter of them is done */
    atomic_uint places, handshakes, connections;
    _Atomic int64_t manual_now;

    pthread_mutex_t lock; /* of what waits to be taken; nothing is called while it is held */
    connection *connections_first, *connections_last;
    report *reports_first, *reports_last;
    unsigned reports, unreported, room_wanted;
};

static int64_t now(handshake_pool *pool)
{
    if (pool->options.manual_clock)
        return atomic_load(&pool->manual_now);
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static void signal_descriptor(int descriptor)
{
    const uint64_t one = 1;
    while (write(descriptor, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void clear_descriptor(int descriptor)
{
    uint64_t count;
    while (read(descriptor, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

/* -- handing over --------------------------------------------------------------------------------------------------- */

static void hand_over_done(worker *self)
{
    handshake_pool *pool = self->pool;
    if (!self->done)
        return;
    pthread_mutex_lock(&pool->lock);
    if (pool->connections_last)
        pool->connections_last->next = self->done_first;
    else
        pool->connections_first = self->done_first;
    pool->connections_last = self->done_last;
    pthread_mutex_unlock(&pool->lock);
    self->done_first = self->done_last = NULL;
    self->done = 0;
    signal_descriptor(pool->wake);
}

static void hand_over(worker *self, connection *c)
{
    c->next = c->previous = NULL;
    if (self->done_last)
        self->done_last->next = c;
    else
        self->done_first = c;
    self->done_last = c;
    if (++self->done == 1)
        self->done_since = now(self->pool);
    if (self->done == TOGETHER)
        hand_over_done(self);
}

static void say(handshake_pool *pool, const peer_address *peer, failure why)
{
    report *made = calloc(1, sizeof *made);
    if (made) {
        made->peer = *peer;
        made->why = why;
    }
    pthread_mutex_lock(&pool->lock);
    const bool kept = made && pool->reports < REPORTS;
    if (!kept) {
        pool->unreported++;
    } else {
        pool->reports++;
        if (pool->reports_last)
            pool->reports_last->next = made;
        else
            pool->reports_first = made;
        pool->reports_last = made;
    }
    pthread_mutex_unlock(&pool->lock);
    if (!kept)
        free(made);
    signal_descriptor(pool->wake);
}

static void want_room(handshake_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->room_wanted++;
    pthread_mutex_unlock(&pool->lock);
    signal_descriptor(pool->wake);
}

void pool_take(handshake_pool *pool, connection **connections, report **reports, unsigned *unreported, unsigned *room_wanted)
{
    pthread_mutex_lock(&pool->lock);
    *connections = pool->connections_first;
    *reports = pool->reports_first;
    *unreported = pool->unreported;
    *room_wanted = pool->room_wanted;
    pool->connections_first = pool->connections_last = NULL;
    pool->reports_first = pool->reports_last = NULL;
    pool->reports = pool->unreported = pool->room_wanted = 0;
    pthread_mutex_unlock(&pool->lock);
}

/* -- counting ------------------------------------------------------------------------------------------------------- */

static bool few_handshakes(handshake_pool *pool)
{
    return atomic_load(&pool->handshakes) <= pool->options.max_handshakes * 3ull / 4;
}

static void wake_workers(handshake_pool *pool)
{
    for (unsigned at = 0; at < pool->options.threads; at++)
        signal_descriptor(pool->workers[at].wake);
}

static void resume_if_few(handshake_pool *pool)
{
    if (atomic_load(&pool->full) && few_handshakes(pool) && atomic_exchange(&pool->full, false))
        wake_workers(pool);
}

/* Takes a place before a connection is accepted, so that no two threads take the last one. */
static bool take_place(handshake_pool *pool)
{
    if (atomic_fetch_add(&pool->places, 1) < pool->options.max_handshakes)
        return true;
    atomic_fetch_sub(&pool->places, 1);
    return false;
}

static void leave_place(handshake_pool *pool)
{
    atomic_fetch_sub(&pool->places, 1);
}

static void handshake_begun(handshake_pool *pool)
{
    if (atomic_fetch_add(&pool->handshakes, 1) + 1 < pool->options.max_handshakes)
        return;
    atomic_store(&pool->full, true);
    resume_if_few(pool); /* others may have ended before it was called full */
}

static void handshake_ended(handshake_pool *pool)
{
    atomic_fetch_sub(&pool->handshakes, 1);
    leave_place(pool);
    resume_if_few(pool);
}

void pool_connection_ended(handshake_pool *pool)
{
    atomic_fetch_sub(&pool->connections, 1);
}

unsigned pool_connections(const handshake_pool *pool)
{
    return atomic_load(&pool->connections);
}

unsigned pool_handshakes(const handshake_pool *pool)
{
    return atomic_load(&pool->handshakes);
}

/* -- one worker's handshakes ---------------------------------------------------------------------------------------- */

static void append(worker *self, connection *c)
{
    c->next = NULL;
    c->previous = self->last;
    if (self->last)
        self->last->next = c;
    else
        self->first = c;
    self->last = c;
}

static void remove_from(worker *self, connection *c)
{
    if (c->previous)
        c->previous->next = c->next;
    else
        self->first = c->next;
    if (c->next)
        c->next->previous = c->previous;
    else
        self->last = c->previous;
}

static void give_up(worker *self, connection *c, failure why)
{
    handshake_pool *pool = self->pool;
    remove_from(self, c);
    const peer_address peer = c->peer;
    connection_free(c);
    pool_connection_ended(pool);
    say(pool, &peer, why);
    handshake_ended(pool);
}

static void shake(worker *self, connection *c)
{
    const step came = connection_handshake(c);
    if (came == STEP_FAILED) {
        give_up(self, c, c->why);
        return;
    }
    if (came == STEP_DONE) {
        remove_from(self, c);
        epoll_ctl(self->epoll, EPOLL_CTL_DEL, c->fd, NULL);
        hand_over(self, c);
        handshake_ended(self->pool);
        return;
    }
    const int state = SSL_get_state(c->ssl);
    if (state != c->state) {
        c->state = state;
        c->progress = now(self->pool);
    }
    const uint32_t interest = came == STEP_WAIT_WRITE ? EPOLLOUT : EPOLLIN;
    if (interest != c->interest) {
        struct epoll_event event = {.events = interest, .data = {.ptr = c}};
        const int operation = c->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
        c->interest = interest;
        if (epoll_ctl(self->epoll, operation, c->fd, &event) < 0)
            give_up(self, c, (failure){.kind = FAILURE_BROKE, .code = errno});
    }
}

static void begin(worker *self, int fd, const peer_address *peer)
{
    handshake_pool *pool = self->pool;
    const unsigned most = pool->options.max_connections;
    const unsigned before = atomic_fetch_add(&pool->connections, 1);
    if (most && before >= most) {
        close(fd);
        pool_connection_ended(pool);
        say(pool, peer, (failure){.kind = FAILURE_FULL, .code = most});
        leave_place(pool);
        return;
    }
    if (most && before + pool->options.room >= most)
        want_room(pool);
    connection *c = connection_new(fd, pool->context, peer, pool->options.max_frame);
    if (!c) {
        pool_connection_ended(pool);
        say(pool, peer, (failure){.kind = FAILURE_MEMORY});
        leave_place(pool);
        return;
    }
    c->begun = c->progress = now(pool);
    append(self, c);
    handshake_begun(pool);
    shake(self, c);
}

static void accept_some(worker *self)
{
    handshake_pool *pool = self->pool;
    for (int count = 0; count < ACCEPTS && take_place(pool); count++) {
        peer_address peer = {0};
        socklen_t size = sizeof peer;
        const int fd = accept4(pool->listening, &peer.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            begin(self, fd, &peer);
            continue;
        }
        const int error = errno;
        leave_place(pool);
        if (error == EAGAIN || error == EWOULDBLOCK)
            return;
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
            self->retry_at = now(pool) + RETRY_ACCEPT;
            say(pool, &peer, (failure){.kind = FAILURE_ACCEPT, .code = error});
            return;
        }
        /* Any other is of that connection, which was gone before it was accepted. */
    }
}

/* -- time ----------------------------------------------------------------------------------------------------------- */

/* Whether handshakes that stand still have to make room for others. */
static bool pressed(handshake_pool *pool)
{
    const unsigned most = pool->options.max_connections;
    return atomic_load(&pool->full) || (most && atomic_load(&pool->connections) + pool->options.room >= most);
}

/* Ends the handshakes that are late, and finds out when the next one may be. */
static void expire(worker *self)
{
    handshake_pool *pool = self->pool;
    const int64_t time = now(pool);
    const bool stalled = pressed(pool);
    const unsigned count = atomic_load(&pool->handshakes);
    int64_t look_at = NEVER;
    for (connection *c = self->first, *next; c; c = next) {
        next = c->next;
        const int64_t late = c->begun + pool->handshake_timeout;
        const int64_t still = stalled ? c->progress + pool->stall_timeout : NEVER;
        if (time >= late)
            give_up(self, c, (failure){.kind = FAILURE_TIMEOUT});
        else if (time >= still)
            give_up(self, c, (failure){.kind = FAILURE_STALLED, .code = count});
        else {
            const int64_t first = late < still ? late : still;
            look_at = first < look_at ? first : look_at;
            if (!stalled)
                break; /* the others have begun later */
        }
    }
    self->look_at = look_at;
}

static int64_t hand_over_at(const worker *self)
{
    return self->done ? self->done_since + TOGETHER_MS * (SECOND / 1000) : NEVER;
}

static int patience(worker *self)
{
    if (self->pool->options.manual_clock)
        return -1;
    int64_t until = self->look_at < hand_over_at(self) ? self->look_at : hand_over_at(self);
    if (self->first && pressed(self->pool)) {
        const int64_t still = now(self->pool) + self->pool->stall_timeout / 8;
        until = still < until ? still : until;
    }
    if (self->retry_at && self->retry_at < until)
        until = self->retry_at;
    if (until == NEVER)
        return -1;
    const int64_t left = until - now(self->pool);
    return left <= 0 ? 0 : (int)((left + 999999) / 1000000 < 1000 ? (left + 999999) / 1000000 : 1000);
}

/* -- the threads ---------------------------------------------------------------------------------------------------- */

static void watch_listening(worker *self)
{
    handshake_pool *pool = self->pool;
    if (self->retry_at && now(pool) >= self->retry_at)
        self->retry_at = 0;
    const bool wanted = !self->retry_at && !atomic_load(&pool->full);
    if (wanted == self->listens)
        return;
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data = {.ptr = self}};
    if (epoll_ctl(self->epoll, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, pool->listening, &event) == 0)
        self->listens = wanted;
    else
        self->retry_at = now(pool) + RETRY_ACCEPT;
}

static void *work(void *given)
{
    worker *self = given;
    handshake_pool *pool = self->pool;
    struct epoll_event events[EVENTS];
    while (!atomic_load(&pool->ending)) {
        watch_listening(self);
        atomic_store(&self->waits, true);
        const int ready = epoll_wait(self->epoll, events, EVENTS, patience(self));
        atomic_store(&self->waits, false);
        for (int at = 0; at < ready; at++) {
            if (events[at].data.ptr == self)
                accept_some(self);
            else if (events[at].data.ptr == pool)
                clear_descriptor(self->wake);
            else
                shake(self, events[at].data.ptr);
        }
        if (!self->first || pool->options.manual_clock || now(pool) >= hand_over_at(self))
            hand_over_done(self);
        /* What had come by now has been read: what stands still, stands still because of its peer. */
        if (ready < EVENTS)
            expire(self);
        else
            self->look_at = 0;
    }
    if (self->listens)
        epoll_ctl(self->epoll, EPOLL_CTL_DEL, pool->listening, NULL);
    self->listens = false;
    hand_over_done(self);
    while (self->first)
        give_up(self, self->first, (failure){.kind = FAILURE_ENDED});
    ERR_clear_error();
    OPENSSL_thread_stop();
    return NULL;
}

static bool worker_open(worker *self, handshake_pool *pool)
{
    self->pool = pool;
    self->look_at = NEVER;
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = pool}};
    return self->epoll >= 0 && self->wake >= 0 && epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->wake, &event) == 0;
}

static void worker_close(worker *self)
{
    if (self->epoll >= 0)
        close(self->epoll);
    if (self->wake >= 0)
        close(self->wake);
    self->epoll = self->wake = -1;
}

/* Signals are for the thread of Python. */
static int start_thread(worker *self)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_attr_init(&attributes);
    if (!error) {
        (void)pthread_attr_setstacksize(&attributes, STACK);
        error = pthread_create(&self->thread, &attributes, work, self);
        pthread_attr_destroy(&attributes);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

bool pool_start(handshake_pool *pool, int listening, const char **fault)
{
    if (pool->started) {
        *fault = "it listens already";
        return false;
    }
    pool->listening = listening;
    atomic_store(&pool->ending, false);
    for (unsigned at = 0; at < pool->options.threads; at++) {
        const int error = start_thread(&pool->workers[at]);
        if (error) {
            *fault = strerror(error);
            pool_stop(pool);
            return false;
        }
        pool->started++;
    }
    return true;
}

void pool_stop(handshake_pool *pool)
{
    atomic_store(&pool->ending, true);
    wake_workers(pool);
    for (unsigned at = 0; at < pool->started; at++)
        pthread_join(pool->workers[at].thread, NULL);
    pool->started = 0;
}

/* -- beginning and end ---------------------------------------------------------------------------------------------- */

handshake_pool *pool_new(SSL_CTX *context, const pool_options *options, const char **fault)
{
    *fault = "there is no memory";
    handshake_pool *made = calloc(1, sizeof *made);
    if (!made) {
        SSL_CTX_free(context);
        return NULL;
    }
    made->context = context;
    made->options = *options;
    made->handshake_timeout = (int64_t)(options->handshake_timeout * 1e9);
    made->stall_timeout = (int64_t)(options->stall_timeout * 1e9);
    pthread_mutex_init(&made->lock, NULL);
    made->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    made->workers = calloc(options->threads, sizeof *made->workers);
    bool sound = made->workers && connection_prepare(context);
    for (unsigned at = 0; made->workers && at < options->threads; at++)
        made->workers[at].epoll = made->workers[at].wake = -1;
    for (unsigned at = 0; sound && at < options->threads; at++)
        sound = worker_open(&made->workers[at], made);
    if (sound && made->wake >= 0)
        return made;
    *fault = strerror(errno);
    pool_free(made);
    return NULL;
}

void pool_free(handshake_pool *pool)
{
    connection *connections;
    report *reports;
    unsigned ignored;
    pool_take(pool, &connections, &reports, &ignored, &ignored);
    for (connection *next; connections; connections = next) {
        next = connections->next;
        connection_free(connections);
    }
    for (report *next; reports; reports = next) {
        next = reports->next;
        free(reports);
    }
    for (unsigned at = 0; pool->workers && at < pool->options.threads; at++)
        worker_close(&pool->workers[at]);
    if (pool->wake >= 0)
        close(pool->wake);
    free(pool->workers);
    SSL_CTX_free(pool->context);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int pool_descriptor(const handshake_pool *pool)
{
    return pool->wake;
}

void pool_wake(handshake_pool *pool)
{
    signal_descriptor(pool->wake);
}

void pool_woken(handshake_pool *pool)
{
    clear_descriptor(pool->wake);
}

void pool_set_time(handshake_pool *pool, double seconds)
{
    atomic_store(&pool->manual_now, (int64_t)(seconds * 1e9));
    wake_workers(pool);
}

bool pool_idle(handshake_pool *pool)
{
    for (unsigned at = 0; at < pool->started; at++) {
        struct pollfd looked = {.fd = pool->workers[at].epoll, .events = POLLIN};
        if (!atomic_load(&pool->workers[at].waits) || poll(&looked, 1, 0) != 0)
            return false;
    }
    struct pollfd queued = {.fd = pool->wake, .events = POLLIN};
    return poll(&queued, 1, 0) == 0;
}
