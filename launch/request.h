/* Builds the request of a launch as it goes over the wire. Knows bytes alone: neither the network nor keys. */
#ifndef MU_REQUEST_H
#define MU_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "sigv4.h"

#define REQUEST_LONGEST_FUNCTION 256
#define REQUEST_MARK "##ID##" /* in a payload: stands for the launch's id */

/* One launch, borrowed from the caller. Texts end with a NUL. */
typedef struct {
    const char *id;
    const char *function;
    const char *payload;
    size_t id_size, payload_size;
} launch_request;

/* Where launches are sent. */
typedef struct {
    char *base; /* scheme, host, port and path, without a slash at its end */
    size_t path_at;
    char host[300]; /* as the Host header has it */
} endpoint;

/* Split http[s]://HOST[:PORT][/PATH] into what requests and signatures need; why it is none, or NULL. */
const char *endpoint_read(endpoint *self, const char *url);

/* Safe on one that was only zeroed. */
void endpoint_clear(endpoint *self);

/* Bytes that the path of any function takes there, its NUL too. */
size_t endpoint_room(const endpoint *self);

/* The path that invokes a function, percent-encoded; false where no function has such a name. */
bool endpoint_path(const endpoint *self, const char *function, char *into);

/* A request, in memory that is used again for one after the other. Zeroed: none. */
typedef struct {
    char *data;
    size_t room;
    size_t head, body, end; /* where they begin, and the end of all */
} request_buffer;

/* Put in the payload with the id in the place of every mark; false where there is no memory.
 *
 * head_room: bytes that the head will take at most. */
bool request_put_body(request_buffer *self, const launch_request *request, size_t head_room);

/* Bytes that a head takes at most. */
size_t request_head_room(const endpoint *to, const char *token);

/* Put the head before the payload. token: of temporary keys, or NULL. */
bool request_put_head(request_buffer *self, const endpoint *to, const char *path, const signature *made,
                      const char *token);

/* Wipe and free it. Safe on one that was only zeroed. */
void request_clear(request_buffer *self);

#endif
