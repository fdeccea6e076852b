#include "frame.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 4096 };

static size_t least(uint64_t one, uint64_t other)
{
    return (size_t)(one < other ? one : other);
}

bool frame_parse_header(const char *header, size_t size, uint64_t *announced)
{
    uint64_t number = 0;
    for (size_t at = 0; at < least(size, FRAME_DIGITS); at++) {
        if (header[at] < '0' || header[at] > '9')
            return false;
        number = number * 10 + (uint64_t)(header[at] - '0');
    }
    *announced = number;
    return size < FRAME_HEADER || header[FRAME_DIGITS] == ' ';
}

/* Makes room for so many bytes more; each growth doubles what there is, so that nothing is copied often. */
static bool make_room(frame_reader *reader, size_t more)
{
    size_t needed = reader->filled + more;
    if (needed <= reader->capacity)
        return true;
    size_t wanted = reader->capacity ? 2 * reader->capacity : FIRST_CAPACITY;
    wanted = least(wanted > needed ? wanted : needed, reader->size);
    char *grown = realloc(reader->body, wanted);
    if (!grown)
        return false;
    reader->body = grown;
    reader->capacity = wanted;
    return true;
}

/* Gives a whole payload to the sink; the next header may come. */
static bool deliver(frame_reader *reader, const char *payload, frame_sink sink, void *context)
{
    size_t size = (size_t)reader->size;
    char *body = reader->body;
    reader->body = NULL;
    reader->in_body = false;
    reader->size = 0;
    reader->filled = reader->capacity = 0;
    bool more = sink(context, payload, size);
    free(body);
    return more;
}

frame_outcome frame_feed(frame_reader *reader, const char *data, size_t size, size_t *taken, frame_sink sink,
                         void *context)
{
    size_t at = 0;
    frame_outcome outcome = FRAME_ALL_TAKEN;
    while (at < size && outcome == FRAME_ALL_TAKEN) {
        if (!reader->in_body) {
            size_t part = least(FRAME_HEADER - reader->filled, size - at);
            memcpy(reader->header + reader->filled, data + at, part);
            reader->filled += part;
            at += part;
            uint64_t announced;
            if (!frame_parse_header(reader->header, reader->filled, &announced)) {
                outcome = FRAME_MALFORMED;
            } else if (reader->filled == FRAME_HEADER) {
                reader->size = announced;
                if (reader->size > reader->limit) {
                    outcome = FRAME_TOO_LONG;
                } else if (reader->size <= size - at) {
                    const char *payload = data + at;
                    at += (size_t)reader->size;
                    if (!deliver(reader, payload, sink, context))
                        outcome = FRAME_STOPPED;
                } else {
                    reader->in_body = true;
                    reader->filled = 0;
                }
            }
        } else {
            size_t part = least(reader->size - reader->filled, size - at);
            if (!make_room(reader, part)) {
                outcome = FRAME_NO_MEMORY;
            } else {
                memcpy(reader->body + reader->filled, data + at, part);
                reader->filled += part;
                at += part;
                if (reader->filled == reader->size && !deliver(reader, reader->body, sink, context))
                    outcome = FRAME_STOPPED;
            }
        }
    }
    *taken = at;
    return outcome;
}

size_t frame_pending(const frame_reader *reader)
{
    return reader->in_body ? FRAME_HEADER + reader->filled : reader->filled;
}

void frame_header(char into[FRAME_HEADER], uint64_t size)
{
    for (size_t at = FRAME_DIGITS; at-- > 0; size /= 10)
        into[at] = (char)('0' + size % 10);
    into[FRAME_DIGITS] = ' ';
}

void frame_reader_clear(frame_reader *reader)
{
    free(reader->body);
    reader->body = NULL;
    reader->in_body = false;
    reader->size = 0;
    reader->filled = reader->capacity = 0;
}
