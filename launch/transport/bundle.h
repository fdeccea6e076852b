/* Cuts a stream of bytes into bundles: whole frames in a row, as they came, in one buffer that is counted. So what is
 * passed on, or kept, is not copied. The format of frames is frame.h's.
 *
 * A bundle belongs to one thread. It does not change once it was taken out of its reader. */
#ifndef MU_TRANSPORT_BUNDLE_H
#define MU_TRANSPORT_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

typedef struct {
    unsigned references;
    unsigned frames;
    size_t longest; /* bytes of the longest payload */
    size_t size, capacity;
    char data[];
} bundle;

/* An empty one with room for so many bytes; NULL: there is no memory. */
bundle *bundle_new(size_t capacity);
bundle *bundle_hold(bundle *held);
void bundle_release(bundle *held);

typedef struct {
    bundle *filling; /* or NULL */
    size_t whole;    /* bytes of whole frames in it */
    uint64_t size;   /* of the payload in the making, once its header is complete */
    bool in_body;
    size_t last; /* bytes of the bundle that was taken last: the next one may be as long */
} bundle_reader;

/* Where bytes are to be put: *room of them, which is as much as was asked for at least. ahead: how much more memory may
 * be taken at once. NULL: there is no memory. */
char *bundle_room(bundle_reader *reader, size_t least, size_t ahead, size_t *room);

/* So many bytes have been put there. After FRAME_MALFORMED, when what stands behind the whole frames is none, and
 * FRAME_TOO_LONG, for which size stands in the reader, the stream cannot be read any further. */
frame_outcome bundle_filled(bundle_reader *reader, size_t size, uint64_t limit);

/* Takes the whole frames; NULL where there are none. The caller's to release. False: there is no memory. */
bool bundle_take(bundle_reader *reader, bundle **taken);

/* Bytes of an incomplete frame that are held, its header included. */
size_t bundle_pending(const bundle_reader *reader);

void bundle_reader_clear(bundle_reader *reader);

#endif
