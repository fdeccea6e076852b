/* Cuts a stream of bytes into frames: twelve decimal digits, a blank, and so many bytes of payload. Knows bytes only; the
 * format and its limits stand in docs/protocol.md. */
#ifndef MU_TRANSPORT_FRAME_H
#define MU_TRANSPORT_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_DIGITS = 12, FRAME_HEADER = FRAME_DIGITS + 1 };
#define FRAME_LONGEST 999999999999ull

typedef enum {
    FRAME_ALL_TAKEN,
    FRAME_STOPPED,   /* the sink wants no more for now */
    FRAME_MALFORMED, /* what stands in the reader's header is none */
    FRAME_TOO_LONG,  /* the header announces more than the limit */
    FRAME_NO_MEMORY,
} frame_outcome;

/* Takes one payload, which belongs to the reader and stands until this returns. False: no more for now. */
typedef bool (*frame_sink)(void *context, const char *payload, size_t size);

typedef struct {
    uint64_t limit; /* largest payload that is accepted; looked at when a header is complete */
    uint64_t size;  /* of the payload in the making; 0 while its header is incomplete */
    size_t filled;  /* bytes that are held: of the payload in the making, or of the header */
    size_t capacity;
    char *body; /* grows with what has come: a peer that announces much and sends little costs little */
    bool in_body;
    char header[FRAME_HEADER];
} frame_reader;

/* Takes bytes until they, or the sink's wish for more, are at an end. *taken says how many were. After FRAME_MALFORMED
 * and FRAME_TOO_LONG the stream cannot be read any further. */
frame_outcome frame_feed(frame_reader *reader, const char *data, size_t size, size_t *taken, frame_sink sink,
                         void *context);

/* Bytes of an incomplete frame that are held, its header included; 0 between frames. */
size_t frame_pending(const frame_reader *reader);

/* Parses a header as far as it is there: what it announces, once it is whole. False: it is none. */
bool frame_parse_header(const char *header, size_t size, uint64_t *announced);

/* Writes the header of a payload of so many bytes, FRAME_LONGEST at most. */
void frame_header(char into[FRAME_HEADER], uint64_t size);

void frame_reader_clear(frame_reader *reader);

#endif
