#include "client.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <openssl/crypto.h>

#define PAUSE_MS 100
#define TOKEN_HEADER "X-Amz-Security-Token: "
#define TAIL_FACTOR 4 /* times as long as the slowest answer so far */
#define CONNECTING 0.00075 /* seconds of CPU that a new connection costs, nearly all of them its handshake */

enum { KEEP_GOING, NO_MORE, AT_ONCE };
enum { HEADER_TYPE, HEADER_INVOCATION, HEADER_EXPECT, HEADER_DATE, HEADER_AUTHORIZATION, HEADER_TOKEN, HEADERS };

/* One connection's worth of work: an easy handle that serves launch after launch. */
typedef struct {
    CURL *easy;
    size_t index;
    bool active;
    char *url;
    payload_buffer payload;
    struct curl_slist headers[HEADERS];
    char date[40];
    char authorization[600];
    double started;
    reply reply;
} slot;

struct client {
    signer signer;
    CURLM *multi;
    CURLSH *shared; /* the sessions of TLS, which later connections resume */
    endpoint endpoint;
    slot *slots;
    int pool_size, used;
    double tail_timeout;
    double latency; /* seconds from a launch's sending to its answer, the least so far; negative: unknown */
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

/* Send one launch by this slot, or answer it at once where it cannot be sent. */
static void start(client *self, slot *by, work *of, size_t index)
{
    launch_batch *batch = of->batch;
    const launch_request *request = &batch->requests[index];
    signature made;
    size_t size;
    if (!endpoint_url(&self->endpoint, request->function, by->url)) {
        refuse(batch, index, ANSWER_NEVER, "no function has such a name");
        return;
    }
    const char *payload = payload_write(&by->payload, request, &size);
    if (!payload || !signer_sign(&self->signer, of->keys, time(NULL), self->endpoint.host,
                                 by->url + self->endpoint.path_at, payload, size, &made)) {
        refuse(batch, index, ANSWER_NONE, "the request could not be signed");
        return;
    }
    snprintf(by->date, sizeof by->date, "X-Amz-Date: %s", made.date);
    snprintf(by->authorization, sizeof by->authorization, "Authorization: %s", made.authorization);
    by->index = index;
    reply_begin(&by->reply);
    by->started = now();
    if (curl_easy_setopt(by->easy, CURLOPT_URL, by->url) != CURLE_OK ||
        curl_easy_setopt(by->easy, CURLOPT_POSTFIELDS, payload) != CURLE_OK ||
        curl_easy_setopt(by->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size) != CURLE_OK ||
        curl_multi_add_handle(self->multi, by->easy) != CURLM_OK)
        refuse(batch, index, ANSWER_NONE, "libcurl did not take the request");
    else
        by->active = true;
}

static void stop(client *self, slot *at)
{
    curl_multi_remove_handle(self->multi, at->easy);
    at->active = false;
}

/* -- a batch --------------------------------------------------------------------------------------------------- */

static bool has_address(const slot *at)
{
    curl_off_t looked_up = 0;
    curl_easy_getinfo(at->easy, CURLINFO_NAMELOOKUP_TIME_T, &looked_up);
    return looked_up > 0;
}

/* What takes longer than the least has waited in the endpoint, where more connections would not shorten it. */
static void note_latency(client *self, const slot *by, long status)
{
    curl_off_t sent = 0, answered = 0;
    curl_easy_getinfo(by->easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
    curl_easy_getinfo(by->easy, CURLINFO_STARTTRANSFER_TIME_T, &answered);
    double took = (double)(answered - sent) / 1e6;
    if (status > 0 && (self->latency < 0 || took < self->latency))
        self->latency = took;
}

static bool collect(client *self, work *of)
{
    CURLMsg *message;
    int left;
    bool any = false;
    while ((message = curl_multi_info_read(self->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        char *found = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &found);
        slot *by = (slot *)(void *)found;
        launch_answer *answer = &of->batch->answers[by->index];
        reply_end(&by->reply, by->easy, code, by->started - of->since, answer);
        finish(of->batch, by->index);
        note_latency(self, by, answer->status);
        double took = now() - by->started;
        if (answer->status > 0 && took > of->slowest)
            of->slowest = took;
        of->found = of->found || has_address(by);
        if (!of->found && answer->status == ANSWER_UNREACHED)
            while (of->next < of->batch->size)
                refuse(of->batch, of->next++, ANSWER_UNREACHED, answer->reason ? answer->reason : "");
        stop(self, by);
        any = true;
    }
    return any;
}

/* Set the header with the session token, in memory that is wiped afterwards; without one the list ends before it. */
static bool set_token_header(client *self, const credentials *keys, char **header, size_t *size)
{
    *header = NULL;
    *size = 0;
    if (keys->token) {
        *size = sizeof TOKEN_HEADER + strlen(keys->token);
        *header = OPENSSL_malloc(*size);
        if (!*header)
            return false;
        snprintf(*header, *size, "%s%s", TOKEN_HEADER, keys->token);
    }
    for (int at = 0; at < self->pool_size; at++) {
        struct curl_slist *headers = self->slots[at].headers;
        headers[HEADER_TOKEN].data = *header;
        headers[HEADER_AUTHORIZATION].next = *header ? &headers[HEADER_TOKEN] : NULL;
    }
    return true;
}

/* How many connections are to be used: P of them serve a batch of N in P * CONNECTING + N * latency / P seconds, which is
 * least where both are equal. Those that are there already cost nothing.
 *
 * The first launch is sent alone until the endpoint's name has an address, and where it has none answers for all: else
 * each connection would look it up at the same moment, which is more than some name servers answer. It stays alone until
 * it is answered, for PAUSE_MS at most: then the latency is known, and the others can resume its session. */
static int connections_for(client *self, work *of)
{
    of->found = of->found || (self->slots[0].active && has_address(&self->slots[0]));
    if (!of->found)
        return 1;
    if (self->latency < 0)
        return (now() - of->since) * 1000 < PAUSE_MS ? 1 : self->pool_size;
    double waiting = (double)of->batch->size * self->latency;
    while (self->used < self->pool_size && self->used * self->used * CONNECTING < waiting)
        self->used++;
    return self->used;
}

/* A launch that takes much longer than others does not count, and cannot hold up those behind it. */
static void start_more(client *self, work *of)
{
    int most = connections_for(self, of), counted = 0;
    double late = of->found ? now() - PAUSE_MS / 1000.0 - TAIL_FACTOR * (self->latency < 0 ? 0 : self->latency) : 0;
    for (int at = 0; at < self->pool_size; at++)
        counted += self->slots[at].active && self->slots[at].started > late;
    for (int at = 0; at < self->pool_size && counted < most && of->next < of->batch->size; at++) {
        if (self->slots[at].active)
            continue;
        while (!self->slots[at].active && of->next < of->batch->size)
            start(self, &self->slots[at], of, of->next++);
        counted++;
    }
}

/* Cut off the launches in flight, or only those in flight for longer than so many seconds. */
static void cut_off(client *self, work *of, double longer_than, long status, const char *reason)
{
    double time = now();
    for (int at = 0; at < self->pool_size; at++)
        if (self->slots[at].active && time - self->slots[at].started > longer_than) {
            stop(self, &self->slots[at]);
            refuse(of->batch, self->slots[at].index, status, reason);
        }
}

/* Refuse what client_cancel has stopped. */
static void apply_cancel(client *self, work *of)
{
    int cancelled = atomic_load(&self->cancelled);
    if (cancelled != KEEP_GOING)
        while (of->next < of->batch->size)
            refuse(of->batch, of->next++, ANSWER_CANCELLED, "cancelled before it was sent");
    if (cancelled == AT_ONCE)
        cut_off(self, of, -1, ANSWER_CANCELLED, "cancelled before the answer came");
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
    cut_off(self, of, limit, ANSWER_NONE, reason);
}

bool client_perform(client *self, const char *region, const credentials *keys, launch_batch *batch,
                    client_pause pause, void *context)
{
    char *token;
    size_t token_size;
    signer_set_region(&self->signer, region);
    bool going = set_token_header(self, keys, &token, &token_size);
    work of = {.batch = batch, .keys = keys, .since = now(), .slowest = -1};
    double paused = of.since;
    while (going && batch->done < batch->size) {
        int running;
        apply_cancel(self, &of);
        drop_stragglers(self, &of);
        start_more(self, &of);
        if (curl_multi_perform(self->multi, &running) != CURLM_OK) {
            going = false;
            break;
        }
        bool any = collect(self, &of);
        double time = now();
        if (batch->done < batch->size && (time - paused) * 1000 >= PAUSE_MS) {
            paused = time;
            going = pause(context);
        }
        if (going && !any && batch->done < batch->size &&
            curl_multi_poll(self->multi, NULL, 0, PAUSE_MS, NULL) != CURLM_OK)
            going = false;
    }
    for (int at = 0; at < self->pool_size; at++)
        if (self->slots[at].active)
            stop(self, &self->slots[at]);
    if (of.slowest >= 0)
        self->slowest = of.slowest;
    if (token)
        OPENSSL_clear_free(token, token_size);
    return going;
}

void client_cancel(client *self, bool at_once)
{
    int order = at_once ? AT_ONCE : NO_MORE, known = atomic_load(&self->cancelled);
    while (known < order && !atomic_compare_exchange_weak(&self->cancelled, &known, order))
        ;
    curl_multi_wakeup(self->multi);
}

/* -- making and ending ----------------------------------------------------------------------------------------- */

static bool set_up(client *self, slot *at, const client_options *options)
{
    static char type[] = "Content-Type: " SIGV4_CONTENT_TYPE, expect[] = "Expect:",
                invocation[] = "X-Amz-Invocation-Type: " SIGV4_INVOCATION_TYPE;
    char *const texts[HEADERS] = {type, invocation, expect, at->date, at->authorization, NULL};
    for (int header = 0; header < HEADERS; header++) {
        at->headers[header].data = texts[header];
        at->headers[header].next = header + 1 < HEADERS ? &at->headers[header + 1] : NULL;
    }
    at->url = malloc(endpoint_room(&self->endpoint));
    at->easy = curl_easy_init();
    if (!at->url || !at->easy)
        return false;
#define SET(option, value) (curl_easy_setopt(at->easy, CURLOPT_##option, value) == CURLE_OK)
    bool done = SET(PRIVATE, at) && SET(SHARE, self->shared) && SET(ERRORBUFFER, at->reply.fault) && SET(HTTPHEADER, at->headers) && SET(POST, 1L) &&
                SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) && SET(USERAGENT, "mu-twisted") && SET(NOSIGNAL, 1L) &&
                SET(FOLLOWLOCATION, 0L) && SET(SSL_VERIFYPEER, 1L) && SET(SSL_VERIFYHOST, 2L) &&
                SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) && SET(NETRC, (long)CURL_NETRC_IGNORED) &&
                SET(PROXY, options->proxy ? options->proxy : "") && SET(TCP_KEEPALIVE, 1L) && SET(PATH_AS_IS, 1L) &&
                SET(WRITEFUNCTION, reply_take_body) && SET(WRITEDATA, &at->reply) &&
                SET(HEADERFUNCTION, reply_take_header) && SET(HEADERDATA, &at->reply) &&
                SET(UPLOAD_BUFFERSIZE, 16384L) && SET(BUFFERSIZE, 16384L) &&
                SET(CONNECTTIMEOUT_MS, (long)(options->connect_timeout * 1000)) &&
                SET(TIMEOUT_MS, (long)(options->timeout * 1000));
    if (options->ca_bundle)
        done = done && SET(CAINFO, options->ca_bundle);
    /* With a directory, libcurl would read the file once a connection. */
    curl_easy_setopt(at->easy, CURLOPT_CAPATH, NULL);
#undef SET
    return done;
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
    if ((wrong = endpoint_read(&self->endpoint, options->endpoint)))
        snprintf(fault, fault_size, "%.200s is no endpoint: %s",
                 strchr(options->endpoint, '@') ? "what is given" : options->endpoint, wrong);
    else if (!signer_init(&self->signer) || !(self->multi = curl_multi_init()) ||
             !(self->shared = curl_share_init()) ||
             curl_share_setopt(self->shared, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK ||
             !(self->slots = calloc((size_t)options->pool_size, sizeof *self->slots)))
        snprintf(fault, fault_size, "no memory is left");
    else {
        self->pool_size = options->pool_size;
        self->tail_timeout = options->tail_timeout;
        self->latency = self->slowest = -1;
        self->used = 1;
        curl_multi_setopt(self->multi, CURLMOPT_MAXCONNECTS, (long)options->pool_size);
        curl_multi_setopt(self->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
        for (int at = 0; at < options->pool_size; at++)
            if (!set_up(self, &self->slots[at], options)) {
                snprintf(fault, fault_size, "libcurl does not take these options");
                client_free(self);
                return NULL;
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
    for (int at = 0; self->slots && at < self->pool_size; at++) {
        curl_easy_cleanup(self->slots[at].easy);
        free(self->slots[at].url);
        payload_clear(&self->slots[at].payload);
    }
    free(self->slots);
    curl_multi_cleanup(self->multi);
    curl_share_cleanup(self->shared);
    signer_clear(&self->signer);
    endpoint_clear(&self->endpoint);
    OPENSSL_cleanse(self, sizeof *self);
    free(self);
}
