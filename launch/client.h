/* Sends many signed requests over a few kept connections, by libcurl. Knows nothing of Python. */
#ifndef MU_CLIENT_H
#define MU_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "answer.h"
#include "request.h"
#include "sigv4.h"

#define CLIENT_MOST_CONNECTIONS 1024

typedef struct {
    const char *endpoint;  /* http[s]://HOST[:PORT][/PATH] */
    const char *ca_bundle; /* file, or NULL: the system's */
    const char *proxy;     /* URL, or NULL: none */
    int pool_size;
    double connect_timeout, timeout; /* seconds */
    double tail_timeout; /* seconds, and at least four times the slowest answer, after which the last launches of a
                            batch are cut off: nothing else is sent in the region meanwhile */
} client_options;

typedef struct {
    const launch_request *requests;
    launch_answer *answers;
    size_t *finished; /* indices, in the order in which they were answered */
    size_t size, done;
} launch_batch;

/* Called at intervals during a batch; false ends the batch at once. */
typedef bool (*client_pause)(void *context);

typedef struct client client;

/* Create a client; NULL on a fault, whose reason is written as one line. */
client *client_new(const client_options *options, char *fault, size_t fault_size);

/* Drop the connections and wipe the keys. */
void client_free(client *self);

/* Carry out a batch in a region, in the calling thread. Every launch of it is answered when this returns true. False
 * where the pause returned false, or there is no memory: some are then not answered, and those in flight cut off. */
bool client_perform(client *self, const char *region, const credentials *keys, launch_batch *batch,
                    client_pause pause, void *context);

/* Send no more, for good; from any thread. With at_once, also cut off what is in flight. */
void client_cancel(client *self, bool at_once);

#endif
