#include "client.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "connection.h"

#define PAUSE_MS 100
#define TAIL_FACTOR 4 /* times as long as the slowest answer so far */
#define CONNECTING 0.00075 /* seconds of CPU that a new connection costs, nearly all of them its handshake */
#define LAUNCHING 0.000025 /* seconds of CPU that a launch costs */
#define WAKING 0.00001     /* seconds of CPU of it where this thread sleeps until the answer comes */
#define NEAR 0.003         /* seconds of latency up to which the endpoint is near: a few handshakes' time */
#define SAMPLES 8          /* answers after which the least latency is taken for the endpoint's */
#define FEW 8              /* connections before that */
#define EVENTS 64

enum { KEEP_GOING, NO_MORE, AT_ONCE };

/* A connection, and the launch that it is at work for. */
typedef struct {
    connection connection;
    size_t index;
    bool active;
    bool carried; /* whether the connection has carried a request before this one */
    bool blocked; /* whether the rest of the request waits until it can be sent */
    request_buffer request;
    size_t sent;
    double started, sent_at;
    reply reply;
} slot;

struct client {
    signer signer;
    connection_group group;
    endpoint endpoint;
    char *path; /* of the launch that is being started */
    slot *slots;
    int pool_size;
    int reached; /* slots that have ever been at work: the first ones */
    int used;    /* connections that a batch was worth so far, at most */
    int poll; /* tells which open connections are readable, and that there is an order to stop */
    int wake;
    double timeout, tail_timeout;
    double latency; /* seconds from a launch's sending to its answer, the least so far; negative: unknown */
    int samples;    /* of it, up to SAMPLES */
    double slowest; /* seconds that it took in the last batch that had an answer at all; negative: none had */
    atomic_int cancelled;
};

/* One call of client_perform. */
typedef struct {
    launch_batch *batch;
    const credentials *keys;
    double since;
    double slowest;
    size_t next;
    bool found; /* whether the endpoint's name has an address */
} work;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* -- one launch ------------------------------------------------------------------------------------------------ */

static void finish(launch_batch *batch, size_t index)
{
    batch->finished[batch->done++] = index;
}

static void refuse(launch_batch *batch, size_t index, long status, const char *reason)
{
    launch_answer_refuse(&batch->answers[index], status, reason);
    finish(batch, index);
}

static void disconnect(client *self, slot *at)
{
    if (at->connection.state == CONNECTION_OPEN)
        epoll_ctl(self->poll, EPOLL_CTL_DEL, at->connection.descriptor, NULL);
    connection_close(&at->connection);
    at->blocked = false;
}

/* End a launch without the endpoint's answer, and its connection, which is in an unknown state. */
static void cut_off(client *self, slot *at, work *of, long status, const char *reason)
{
    disconnect(self, at);
    at->active = false;
    refuse(of->batch, at->index, status, reason);
}

static bool watch(client *self, slot *at, int change, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = at};
    return epoll_ctl(self->poll, change, at->connection.descriptor, &event) == 0;
}

static void connect_slot(client *self, slot *by, work *of)
{
    by->carried = false;
    by->sent = 0;
    if (!connection_begin(&by->connection))
        cut_off(self, by, of, ANSWER_NONE, "libcurl did not take the request");
}

/* A kept connection that ends before a byte of the answer may have been closed when the request was underway: as every
 * client does, it is sent once more, by a new connection. */
static void fail(client *self, slot *by, work *of)
{
    char reason[CURL_ERROR_SIZE] = "the endpoint closed the connection in mid-answer";
    if (by->carried && by->reply.received == 0) {
        disconnect(self, by);
        connect_slot(self, by, of);
        return;
    }
    if (by->reply.stage == REPLY_BROKEN)
        snprintf(reason, sizeof reason, "the endpoint did not answer in HTTP");
    else if (*by->connection.fault)
        connection_say_fault(&by->connection, CURLE_RECV_ERROR, reason, sizeof reason);
    else if (by->reply.received == 0)
        snprintf(reason, sizeof reason, "the endpoint closed the connection without an answer");
    cut_off(self, by, of, ANSWER_NONE, reason);
}

/* What takes longer than the least has waited in the endpoint, where more connections would not shorten it. */
static void note_times(client *self, work *of, const slot *by)
{
    double time = now(), latency = time - by->sent_at;
    if (by->sent == by->request.end - by->request.head) {
        self->latency = self->latency < 0 || latency < self->latency ? latency : self->latency;
        self->samples += self->samples < SAMPLES;
    }
    if (time - by->started > of->slowest)
        of->slowest = time - by->started;
}

static void conclude(client *self, slot *by, work *of)
{
    if (by->reply.status == 0) {
        fail(self, by, of);
        return;
    }
    note_times(self, of, by);
    reply_end(&by->reply, &of->batch->answers[by->index]);
    finish(of->batch, by->index);
    by->active = false;
    by->carried = true;
    if (!by->reply.reusable || by->sent < by->request.end - by->request.head)
        disconnect(self, by);
}

/* Take what has come by an open connection. TLS itself has something to say at times. */
static void receive(client *self, slot *by, work *of)
{
    char data[16384];
    size_t size;
    for (;;) {
        connection_outcome outcome = connection_receive(&by->connection, data, sizeof data, &size);
        if (outcome == CONNECTION_BLOCKED)
            return;
        if (!by->active) {
            disconnect(self, by);
            return;
        }
        if (outcome == CONNECTION_DONE) {
            if (reply_take(&by->reply, data, size))
                continue;
        } else
            by->reply.reusable = false;
        conclude(self, by, of);
        return;
    }
}

/* Send as much of the request as the connection takes. The endpoint may answer before the last call has returned. */
static void send_request(client *self, slot *by, work *of)
{
    size_t size = by->request.end - by->request.head;
    while (by->sent < size) {
        size_t taken = 0;
        by->sent_at = now();
        connection_outcome outcome = connection_send(&by->connection, by->request.data + by->request.head + by->sent,
                                                     size - by->sent, &taken);
        if (outcome != CONNECTION_DONE) {
            if (outcome == CONNECTION_BLOCKED && (by->blocked || watch(self, by, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT))) {
                by->blocked = true;
                return;
            }
            receive(self, by, of); /* the endpoint may have answered before it closed the connection */
            if (by->active && by->connection.state == CONNECTION_OPEN)
                fail(self, by, of);
            return;
        }
        by->sent += taken;
    }
    if (by->blocked)
        watch(self, by, EPOLL_CTL_MOD, EPOLLIN);
    by->blocked = false;
}

/* Send one launch by this slot, or answer it at once where it cannot be sent. */
static void start(client *self, slot *by, work *of, size_t index)
{
    launch_batch *batch = of->batch;
    const launch_request *request = &batch->requests[index];
    signature made;
    if (!endpoint_path(&self->endpoint, request->function, self->path)) {
        refuse(batch, index, ANSWER_NEVER, "no function has such a name");
        return;
    }
    if (!request_put_body(&by->request, request, request_head_room(&self->endpoint, of->keys->token)) ||
        !signer_sign(&self->signer, of->keys, time(NULL), self->endpoint.host, self->path,
                     by->request.data + by->request.body, by->request.end - by->request.body, &made) ||
        !request_put_head(&by->request, &self->endpoint, self->path, &made, of->keys->token)) {
        refuse(batch, index, ANSWER_NONE, "the request could not be signed");
        return;
    }
    by->index = index;
    by->active = true;
    by->sent = 0;
    by->started = now();
    reply_begin(&by->reply);
    if (by->connection.state == CONNECTION_OPEN) {
        of->found = true;
        send_request(self, by, of);
    } else
        connect_slot(self, by, of);
}

/* -- a batch --------------------------------------------------------------------------------------------------- */

/* Send the requests of connections that have come to be open. */
static bool proceed(client *self, work *of)
{
    CURLcode code;
    connection *made;
    if (!connection_group_proceed(&self->group))
        return false;
    while ((made = connection_group_next(&self->group, &code))) {
        slot *by = made->owner;
        of->found = of->found || connection_has_address(made);
        if (code == CURLE_OK && watch(self, by, EPOLL_CTL_ADD, EPOLLIN)) {
            send_request(self, by, of);
            continue;
        }
        char reason[CURL_ERROR_SIZE];
        long status = connection_is_hopeless(code) ? ANSWER_NEVER : ANSWER_UNREACHED;
        connection_say_fault(made, code, reason, sizeof reason);
        cut_off(self, by, of, status, reason);
        if (!of->found && status == ANSWER_UNREACHED)
            while (of->next < of->batch->size)
                refuse(of->batch, of->next++, ANSWER_UNREACHED, reason);
    }
    return true;
}

/* Wait until a connection goes on, for so many milliseconds at most, and serve all that do. */
static bool serve(client *self, work *of, int milliseconds)
{
    struct epoll_event events[EVENTS];
    size_t done = of->batch->done;
    if (self->group.opening > 0 && !proceed(self, of))
        return false;
    if (of->batch->done != done)
        milliseconds = 0;
    if (self->group.opening > 0) {
        if (!connection_group_wait(&self->group, self->poll, milliseconds))
            return false;
        milliseconds = 0;
    }
    int found = epoll_wait(self->poll, events, EVENTS, milliseconds);
    for (int at = 0; at < found; at++) {
        slot *by = events[at].data.ptr;
        if (!by) {
            uint64_t orders;
            if (read(self->wake, &orders, sizeof orders) < 0)
                continue;
        } else if (by->connection.state == CONNECTION_OPEN) {
            if (events[at].events & ~(uint32_t)EPOLLOUT)
                receive(self, by, of);
            if (by->blocked)
                send_request(self, by, of);
        }
    }
    return found >= 0 || errno == EINTR;
}

/* How many connections are to be used: P of them serve a batch of N in P * CONNECTING + N * latency / P seconds, which is
 * least where both are equal; and more than latency / LAUNCHING keep this thread no busier. Those only have more answers
 * come together, for which it wakes up once: what it costs is then P * CONNECTING + N * WAKING / P. Those that are there
 * already cost nothing.
 *
 * The first launch is sent alone until the endpoint's name has an address, and where it has none answers for all: else
 * each connection would look it up at the same moment, which is more than some name servers answer. It stays alone until
 * it is answered, for PAUSE_MS at most: then the latency is known, and the others can resume its session. Where that takes
 * longer, there are four times as many with each PAUSE_MS.
 *
 * The first answer may be a slow one: the second is waited for, too. Of an endpoint that is near the latency is measured
 * some times, and connections are made one after the other: a session is good for one of them, with whose answer the next
 * comes, and resuming one halves what a connection costs. Where the endpoint is further away that would take too long, and
 * most of those that begin together resume the same session, before the first of them is accepted. Of a near one that a
 * busy machine has answer late this is not so: there are but a FEW until the latency has been measured some times.
 *
 * new: connections without an answer yet. */
static int connections_for(client *self, work *of, int new)
{
    of->found = of->found || (self->slots[0].active && connection_has_address(&self->slots[0].connection));
    if (!of->found)
        return 1;
    if (self->latency < 0) {
        int most = 1;
        for (double waited = (now() - of->since) * 1000; waited >= PAUSE_MS && most < self->pool_size; waited -= PAUSE_MS)
            most *= 4;
        return most < self->pool_size ? most : self->pool_size;
    }
    bool near = self->latency < NEAR, known = self->samples >= SAMPLES;
    if (self->samples < 2 || (near && (!known || new > 0)))
        return self->used;
    int most = known || self->pool_size < FEW ? self->pool_size : FEW;
    while (self->used < most) {
        double saved = self->used * LAUNCHING < self->latency ? self->latency : WAKING;
        if (self->used * self->used * CONNECTING >= (double)of->batch->size * saved)
            break;
        self->used++;
        if (near)
            break;
    }
    return self->used;
}

/* A launch that takes much longer than others does not count, and cannot hold up those behind it. Open connections are
 * used before closed ones. */
static void start_more(client *self, work *of)
{
    int counted = 0, new = 0;
    double late = of->found ? now() - PAUSE_MS / 1000.0 - TAIL_FACTOR * (self->latency < 0 ? 0 : self->latency) : 0;
    for (int at = 0; at < self->reached; at++) {
        bool counts = self->slots[at].active && self->slots[at].started > late;
        counted += counts;
        new += counts && !self->slots[at].carried;
    }
    int most = connections_for(self, of, new);
    for (int pass = 0; pass < 2; pass++)
        for (int at = 0; at < self->pool_size && counted < most && of->next < of->batch->size; at++) {
            slot *by = &self->slots[at];
            if (by->active || (pass == 0 && by->connection.state != CONNECTION_OPEN))
                continue;
            while (!by->active && of->next < of->batch->size)
                start(self, by, of, of->next++);
            counted++;
            self->reached = at < self->reached ? self->reached : at + 1;
        }
}

/* Cut off the launches in flight for longer than so many seconds. */
static void cut_off_all(client *self, work *of, double longer_than, long status, const char *reason)
{
    double time = now();
    for (int at = 0; at < self->reached; at++)
        if (self->slots[at].active && time - self->slots[at].started > longer_than)
            cut_off(self, &self->slots[at], of, status, reason);
}

/* Refuse what client_cancel has stopped. */
static void apply_cancel(client *self, work *of)
{
    int cancelled = atomic_load(&self->cancelled);
    if (cancelled != KEEP_GOING)
        while (of->next < of->batch->size)
            refuse(of->batch, of->next++, ANSWER_CANCELLED, "cancelled before it was sent");
    if (cancelled == AT_ONCE)
        cut_off_all(self, of, -1, ANSWER_CANCELLED, "cancelled before the answer came");
}

/* End launches whose time is over; one whose connection is still being made is libcurl's to end. Where the status has
 * come it counts. */
static void drop_silent(client *self, work *of)
{
    double late = now() - self->timeout;
    char reason[80];
    snprintf(reason, sizeof reason, "timed out: no answer in %g s", self->timeout);
    for (int at = 0; at < self->reached; at++) {
        slot *by = &self->slots[at];
        if (!by->active || by->connection.state != CONNECTION_OPEN || by->started > late)
            continue;
        by->reply.reusable = false;
        if (by->reply.status != 0)
            conclude(self, by, of);
        else
            cut_off(self, by, of, ANSWER_NONE, reason);
    }
}

/* Cut off the last launches of a batch where they hang. Where none was ever answered, all may be slow. */
static void drop_stragglers(client *self, work *of)
{
    double slowest = of->slowest >= 0 ? of->slowest : self->slowest;
    if (slowest < 0 || of->next < of->batch->size)
        return;
    double limit = TAIL_FACTOR * slowest;
    if (limit < self->tail_timeout)
        limit = self->tail_timeout;
    char reason[80];
    snprintf(reason, sizeof reason, "no answer in %.1f s, while others had theirs", limit);
    cut_off_all(self, of, limit, ANSWER_NONE, reason);
}

bool client_perform(client *self, const char *region, const credentials *keys, launch_batch *batch,
                    client_pause pause, void *context)
{
    signer_set_region(&self->signer, region);
    work of = {.batch = batch, .keys = keys, .since = now(), .slowest = -1};
    double paused = of.since;
    bool going = serve(self, &of, 0); /* connections that were closed since the last batch */
    while (going && batch->done < batch->size) {
        apply_cancel(self, &of);
        start_more(self, &of);
        if (batch->done < batch->size)
            going = serve(self, &of, PAUSE_MS);
        double time = now();
        if (going && batch->done < batch->size && (time - paused) * 1000 >= PAUSE_MS) {
            paused = time;
            going = pause(context);
            drop_silent(self, &of);
            drop_stragglers(self, &of);
        }
    }
    for (int at = 0; at < self->reached; at++) {
        if (self->slots[at].active)
            disconnect(self, &self->slots[at]);
        self->slots[at].active = false;
        request_clear(&self->slots[at].request);
    }
    if (of.slowest >= 0)
        self->slowest = of.slowest;
    return going;
}

void client_cancel(client *self, bool at_once)
{
    int order = at_once ? AT_ONCE : NO_MORE, known = atomic_load(&self->cancelled);
    const uint64_t one = 1;
    while (known < order && !atomic_compare_exchange_weak(&self->cancelled, &known, order))
        ;
    /* It fails only where the counter is full of orders that are not yet read. */
    if (write(self->wake, &one, sizeof one) < 0)
        return;
}

/* -- making and ending ----------------------------------------------------------------------------------------- */

static bool set_up(client *self, const client_options *options)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    self->poll = epoll_create1(EPOLL_CLOEXEC);
    self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->path = malloc(endpoint_room(&self->endpoint));
    self->slots = calloc((size_t)options->pool_size, sizeof *self->slots);
    return self->poll >= 0 && self->wake >= 0 && self->path && self->slots && signer_init(&self->signer) &&
           connection_group_init(&self->group, options->pool_size) &&
           epoll_ctl(self->poll, EPOLL_CTL_ADD, self->wake, &event) == 0;
}

client *client_new(const client_options *options, char *fault, size_t fault_size)
{
    client *self = calloc(1, sizeof *self);
    const char *wrong = NULL;
    if (!self) {
        snprintf(fault, fault_size, "no memory is left");
        return NULL;
    }
    atomic_init(&self->cancelled, KEEP_GOING);
    self->poll = self->wake = -1;
    self->timeout = options->timeout;
    self->tail_timeout = options->tail_timeout;
    self->latency = self->slowest = -1;
    self->used = 1;
    if ((wrong = endpoint_read(&self->endpoint, options->endpoint)))
        snprintf(fault, fault_size, "%.200s is no endpoint: %s",
                 strchr(options->endpoint, '@') ? "what is given" : options->endpoint, wrong);
    else if (!set_up(self, options))
        snprintf(fault, fault_size, "no memory or no file descriptor is left");
    else {
        connection_options for_each = {self->endpoint.base, options->ca_bundle, options->proxy,
                                       options->connect_timeout, options->timeout};
        for (; self->pool_size < options->pool_size; self->pool_size++) {
            slot *at = &self->slots[self->pool_size];
            if (!connection_init(&at->connection, &self->group, &for_each, at)) {
                connection_clear(&at->connection);
                snprintf(fault, fault_size, "libcurl does not take these options");
                client_free(self);
                return NULL;
            }
        }
        return self;
    }
    client_free(self);
    return NULL;
}

void client_free(client *self)
{
    if (!self)
        return;
    for (int at = 0; at < self->pool_size; at++) {
        connection_clear(&self->slots[at].connection);
        request_clear(&self->slots[at].request);
    }
    free(self->slots);
    free(self->path);
    connection_group_clear(&self->group);
    signer_clear(&self->signer);
    endpoint_clear(&self->endpoint);
    if (self->poll >= 0)
        close(self->poll);
    if (self->wake >= 0)
        close(self->wake);
    OPENSSL_cleanse(self, sizeof *self);
    free(self);
}
