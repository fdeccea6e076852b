/* Many signed requests over a few kept connections, by libcurl. Knows nothing of Python. */
#ifndef MU_CLIENT_H
#define MU_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "sigv4.h"

#define CLIENT_MOST_CONNECTIONS 1024
#define CLIENT_LONGEST_FUNCTION 256
#define CLIENT_BODY_KEPT 2048          /* bytes of a refusal that are kept */
#define CLIENT_BODY_TAKEN (256 * 1024) /* bytes of an answer that are read before the connection is dropped */
#define CLIENT_MARK "##ID##"           /* in a payload: stands for the launch's id */

/* Statuses that are no HTTP status. */
enum { ANSWER_NONE = 0, ANSWER_CANCELLED = -1, ANSWER_NEVER = -2 };

enum { TIME_STARTED, TIME_CONNECTED, TIME_SECURED, TIME_FIRST_BYTE, TIME_TOTAL, TIMES };

typedef struct {
    const char *endpoint;  /* http[s]://HOST[:PORT][/PATH] */
    const char *ca_bundle; /* file, or NULL: the system's */
    const char *proxy;     /* URL, or NULL: none */
    int pool_size;
    double connect_timeout, timeout; /* seconds */
} client_options;

/* One launch, borrowed from whoever calls. Texts end with a NUL. */
typedef struct {
    const char *id;
    const char *function;
    const char *payload;
    size_t id_size, payload_size;
} launch_request;

/* What came of it. The texts are on the heap, or NULL. */
typedef struct {
    long status;
    char *reason;       /* of a status that is no HTTP status */
    char *error_type;   /* AWS's name of a refusal */
    char *body;         /* the beginning of a refusal's body */
    size_t body_size;
    double retry_after; /* seconds; negative: the answer does not say */
    double times[TIMES];
} launch_answer;

typedef struct {
    const launch_request *requests;
    launch_answer *answers;
    size_t *finished; /* indices, in the order in which they were answered */
    size_t size, done;
} launch_batch;

/* Called now and then during a batch; false ends it at once. */
typedef bool (*client_pause)(void *context);

typedef struct client client;

/* NULL on a fault, which is then said in one line. */
client *client_new(const client_options *options, char *fault, size_t fault_size);

/* Drops the connections and wipes the keys. */
void client_free(client *self);

/* Carry out a batch in a region, in the calling thread. Every launch of it is answered when this returns true. False where the
 * pause said so, or there is no memory: some are then not answered, and what was in flight is cut off. */
bool client_perform(client *self, const char *region, const credentials *keys, launch_batch *batch,
                    client_pause pause, void *context);

/* From any thread, for good: start no more; with at_once, also cut off what is in flight. */
void client_cancel(client *self, bool at_once);

void launch_answer_clear(launch_answer *self);

#endif
