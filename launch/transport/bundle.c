#include "bundle.h"

#include <stdlib.h>
#include <string.h>

enum { WASTE = 512 }; /* bytes of a bundle, and an eighth of it, that may be unused */

bundle *bundle_hold(bundle *held)
{
    held->references++;
    return held;
}

void bundle_release(bundle *held)
{
    if (held && --held->references == 0)
        free(held);
}

static bundle *resized(bundle *old, size_t capacity)
{
    bundle *made = realloc(old, sizeof *made + capacity);
    if (made)
        made->capacity = capacity;
    return made;
}

bundle *bundle_new(size_t capacity)
{
    bundle *made = resized(NULL, capacity);
    if (made) {
        made->references = 1;
        made->frames = 0;
        made->longest = made->size = 0;
    }
    return made;
}

static size_t smaller(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* Bytes that are yet to come of the frame in the making, as far as it says so. */
static size_t missing(const bundle_reader *reader)
{
    return reader->in_body ? (size_t)reader->size - (bundle_pending(reader) - FRAME_HEADER) : 0;
}

char *bundle_room(bundle_reader *reader, size_t least, size_t ahead, size_t *room)
{
    bundle *filling = reader->filling;
    if (!filling) {
        filling = bundle_new(least + smaller(reader->last, ahead));
    } else if (filling->capacity - filling->size < least) {
        const size_t wanted = filling->size + least + smaller(missing(reader), ahead), doubled = 2 * filling->size;
        filling = resized(filling, wanted > doubled ? wanted : doubled);
    }
    if (!filling)
        return NULL;
    reader->filling = filling;
    *room = filling->capacity - filling->size;
    return filling->data + filling->size;
}

frame_outcome bundle_filled(bundle_reader *reader, size_t size, uint64_t limit)
{
    bundle *filling = reader->filling;
    filling->size += size;
    for (size_t left; (left = filling->size - reader->whole) > 0;) {
        if (!reader->in_body) {
            uint64_t announced;
            if (!frame_parse_header(filling->data + reader->whole, left, &announced))
                return FRAME_MALFORMED;
            if (left < FRAME_HEADER)
                break;
            reader->size = announced;
            if (announced > limit)
                return FRAME_TOO_LONG;
            reader->in_body = true;
        }
        if (left - FRAME_HEADER < reader->size)
            break;
        reader->in_body = false;
        reader->whole += FRAME_HEADER + (size_t)reader->size;
        filling->frames++;
        if (reader->size > filling->longest)
            filling->longest = (size_t)reader->size;
        reader->size = 0;
    }
    return FRAME_ALL_TAKEN;
}

bool bundle_take(bundle_reader *reader, bundle **taken)
{
    bundle *full = reader->filling, *rest = NULL;
    *taken = NULL;
    if (!reader->whole) {
        if (full && !full->size) { /* the room of a read that brought nothing */
            bundle_release(full);
            reader->filling = NULL;
        }
        return true;
    }
    const size_t left = full->size - reader->whole;
    if (left) {
        rest = bundle_new(2 * left);
        if (!rest)
            return false;
        memcpy(rest->data, full->data + reader->whole, left);
        rest->size = left;
    }
    full->size = reader->last = reader->whole;
    if (full->capacity - full->size > WASTE + full->size / 8) {
        bundle *trimmed = resized(full, full->size);
        full = trimmed ? trimmed : full;
    }
    reader->filling = rest;
    reader->whole = 0;
    *taken = full;
    return true;
}

size_t bundle_pending(const bundle_reader *reader)
{
    return reader->filling ? reader->filling->size - reader->whole : 0;
}

void bundle_reader_clear(bundle_reader *reader)
{
    bundle_release(reader->filling);
    *reader = (bundle_reader){0};
}
