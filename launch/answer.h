/* Receives the answer to one launch from libcurl, piece by piece, and interprets it. */
#ifndef MU_ANSWER_H
#define MU_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include <curl/curl.h>

#define ANSWER_BODY_KEPT 2048          /* bytes of a refusal that are kept */
#define ANSWER_BODY_TAKEN (256 * 1024) /* bytes of an answer that are read before the connection is dropped */

/* Statuses that are no HTTP status. UNREACHED: no connection could be made, so nothing was sent. */
enum { ANSWER_NONE = 0, ANSWER_CANCELLED = -1, ANSWER_NEVER = -2, ANSWER_UNREACHED = -3 };

enum { TIME_STARTED, TIME_CONNECTED, TIME_SECURED, TIME_FIRST_BYTE, TIME_TOTAL, TIMES };

/* The result of a launch. The texts are on the heap, or NULL. */
typedef struct {
    long status;
    char *reason;       /* of a status that is no HTTP status */
    char *error_type;   /* AWS's name of a refusal */
    char *body;         /* the beginning of a refusal's body */
    size_t body_size;
    double retry_after; /* seconds; negative: the answer does not say */
    double times[TIMES];
} launch_answer;

/* Set a result that is not the endpoint's answer. */
void launch_answer_refuse(launch_answer *self, long status, const char *reason);

void launch_answer_clear(launch_answer *self);

/* An answer while it is received. */
typedef struct {
    bool headers_done;
    size_t taken, kept;
    char body[ANSWER_BODY_KEPT];
    char error_type[128];
    double retry_after;
    char fault[CURL_ERROR_SIZE];
} reply;

void reply_begin(reply *self);

/* Callbacks for libcurl, with the reply as context. */
size_t reply_take_header(char *data, size_t one, size_t size, void *context);
size_t reply_take_body(char *data, size_t one, size_t size, void *context);

/* End an answer: nothing more is received. */
void reply_end(const reply *self, CURL *easy, CURLcode code, double started, launch_answer *answer);

#endif
