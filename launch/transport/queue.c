#include "queue.h"

#include <stdlib.h>
#include <string.h>

enum { KEEP_CAPACITY = 512 }; /* bytes of an empty queue that are kept for the next message */

struct send_part {
    send_part *next;
    byte_queue copied;
    bundle *of; /* or NULL: copied has the bytes */
    const char *data;
    size_t left;
};

void queue_clear(byte_queue *queue)
{
    free(queue->data);
    *queue = (byte_queue){0};
}

void queue_taken(byte_queue *queue, size_t size)
{
    queue->at += size;
    if (queue->at < queue->end)
        return;
    queue->at = queue->end = 0;
    if (queue->capacity > KEEP_CAPACITY)
        queue_clear(queue);
}

bool queue_add(byte_queue *queue, const void *data, size_t size)
{
    if (queue->capacity - queue->end < size) {
        size_t held = queue->end - queue->at;
        if (queue->capacity - held < size || queue->at < held) {
            size_t wanted = held + size > 2 * held ? held + size : 2 * held;
            wanted = wanted < KEEP_CAPACITY ? KEEP_CAPACITY : wanted;
            char *grown = malloc(wanted);
            if (!grown)
                return false;
            if (held)
                memcpy(grown, queue->data + queue->at, held);
            free(queue->data);
            queue->data = grown;
            queue->capacity = wanted;
        } else {
            memmove(queue->data, queue->data + queue->at, held);
        }
        queue->at = 0;
        queue->end = held;
    }
    if (size)
        memcpy(queue->data + queue->end, data, size);
    queue->end += size;
    return true;
}

static send_part *new_part(send_queue *queue)
{
    send_part *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    if (queue->last)
        queue->last->next = made;
    else
        queue->first = made;
    queue->last = made;
    return made;
}

bool send_queue_add(send_queue *queue, const void *data, size_t size)
{
    byte_queue *to = &queue->copied;
    if (!size)
        return true; /* a part of no bytes would never be taken */
    if (queue->last) {
        send_part *part = queue->last->of ? new_part(queue) : queue->last;
        if (!part)
            return false;
        to = &part->copied;
    }
    if (!queue_add(to, data, size))
        return false;
    queue->size += size;
    return true;
}

bool send_queue_hold(send_queue *queue, bundle *of, const char *data, size_t size)
{
    send_part *part = size ? new_part(queue) : NULL;
    if (!part)
        return !size;
    part->of = bundle_hold(of);
    part->data = data;
    part->left = size;
    queue->size += size;
    return true;
}

const char *send_queue_next(const send_queue *queue, size_t *size)
{
    const send_part *part = queue->first;
    const byte_queue *copied = &queue->copied;
    if (copied->at == copied->end && part) {
        if (part->of) {
            *size = part->left;
            return part->data;
        }
        copied = &part->copied;
    }
    *size = copied->end - copied->at;
    return copied->data + copied->at;
}

static void drop_first(send_queue *queue)
{
    send_part *part = queue->first;
    queue->first = part->next;
    if (!queue->first)
        queue->last = NULL;
    bundle_release(part->of);
    queue_clear(&part->copied);
    free(part);
}

void send_queue_taken(send_queue *queue, size_t size)
{
    send_part *part = queue->first;
    queue->size -= size;
    if (queue->copied.at < queue->copied.end) {
        queue_taken(&queue->copied, size);
    } else if (part->of) {
        part->data += size;
        part->left -= size;
        if (!part->left)
            drop_first(queue);
    } else {
        queue_taken(&part->copied, size);
        if (part->copied.at == part->copied.end)
            drop_first(queue);
    }
}

void send_queue_clear(send_queue *queue)
{
    queue_clear(&queue->copied);
    while (queue->first)
        drop_first(queue);
    queue->size = 0;
}
