/* Builds the URL and the body of a launch's request. Knows bytes alone: neither libcurl nor keys. */
#ifndef MU_REQUEST_H
#define MU_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

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

/* Bytes that the URL of any function takes there, its NUL too. */
size_t endpoint_room(const endpoint *self);

/* The URL that invokes a function; false where no function has such a name. */
bool endpoint_url(const endpoint *self, const char *function, char *into);

/* Memory that is used again for one payload after the other. */
typedef struct {
    char *data;
    size_t room;
} payload_buffer;

/* The payload with the id in the place of every mark: as it is where there is none, else in the buffer. NULL where
 * there is no memory. */
const char *payload_write(payload_buffer *self, const launch_request *request, size_t *size);

/* Wipe and free it. */
void payload_clear(payload_buffer *self);

#endif
