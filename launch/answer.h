/* Reads the answer to one launch, an HTTP/1.1 response, piece by piece. Knows bytes alone: no network. */
#ifndef MU_ANSWER_H
#define MU_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#define ANSWER_HEAD_TAKEN (64 * 1024)  /* bytes of lines that are read: head, sizes of chunks, trailer */
#define ANSWER_BODY_KEPT 2048          /* bytes of a refusal that are kept */
#define ANSWER_BODY_TAKEN (256 * 1024) /* bytes of a body that are read before the connection is dropped */

/* Statuses that are no HTTP status. UNREACHED: no connection could be made, so nothing was sent. */
enum { ANSWER_NONE = 0, ANSWER_CANCELLED = -1, ANSWER_NEVER = -2, ANSWER_UNREACHED = -3 };

/* The result of a launch. The texts are on the heap, or NULL. */
typedef struct {
    long status;
    char *reason;       /* of a status that is no HTTP status */
    char *error_type;   /* AWS's name of a refusal */
    char *body;         /* the beginning of a refusal's body */
    size_t body_size;
    double retry_after; /* seconds; negative: the answer does not say */
} launch_answer;

/* Set a result that is not the endpoint's answer. */
void launch_answer_refuse(launch_answer *self, long status, const char *reason);

void launch_answer_clear(launch_answer *self);

typedef enum {
    REPLY_STATUS_LINE,
    REPLY_HEADER,
    REPLY_BODY,        /* of known length */
    REPLY_CHUNK_SIZE,
    REPLY_CHUNK,
    REPLY_CHUNK_END,
    REPLY_TRAILER,
    REPLY_UNTIL_CLOSE, /* a body that ends with the connection */
    REPLY_COMPLETE,
    REPLY_BROKEN       /* no HTTP, or beyond a bound; a status that has come counts */
} reply_stage;

/* An answer while it is received. */
typedef struct {
    reply_stage stage;
    long status;    /* 0 until the head is complete */
    long announced; /* by a head that is not yet complete */
    bool reusable;  /* whether the connection may carry another request afterwards */
    bool has_length, chunked;
    unsigned long long left; /* bytes of the body, or of its chunk */
    size_t received, lines, taken, kept, line_size;
    char line[256]; /* the beginning of the line that is being received */
    char body[ANSWER_BODY_KEPT];
    char error_type[128];
    double retry_after;
} reply;

void reply_begin(reply *self);

/* Take bytes that have come; true while more are wanted. */
bool reply_take(reply *self, const char *data, size_t size);

/* Set the result of an answer whose head has come. */
void reply_end(const reply *self, launch_answer *answer);

#endif
