/* Bytes that wait to be sent or to be cut: copied into one buffer that grows and shrinks, or held in a bundle. */
#ifndef MU_TRANSPORT_QUEUE_H
#define MU_TRANSPORT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "bundle.h"

typedef struct {
    char *data;
    size_t at, end, capacity;
} byte_queue;

bool queue_add(byte_queue *queue, const void *data, size_t size);
void queue_taken(byte_queue *queue, size_t size);
void queue_clear(byte_queue *queue);

typedef struct send_part send_part;

/* What is to be sent: bytes that were copied first, then parts, each of which is such bytes or of a bundle. */
typedef struct {
    byte_queue copied;
    send_part *first, *last;
    size_t size; /* of all */
} send_queue;

/* False: there is no memory. */
bool send_queue_add(send_queue *queue, const void *data, size_t size);

/* Adds bytes of a bundle, which is held until they are sent. */
bool send_queue_hold(send_queue *queue, bundle *of, const char *data, size_t size);

/* The next bytes; *size is 0 where there are none. */
const char *send_queue_next(const send_queue *queue, size_t *size);
void send_queue_taken(send_queue *queue, size_t size);
void send_queue_clear(send_queue *queue);

#endif
