#include "answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static char *copy(const char *text, size_t size)
{
    char *made = malloc(size + 1);
    if (made) {
        memcpy(made, text, size);
        made[size] = '\0';
    }
    return made;
}

void launch_answer_refuse(launch_answer *self, long status, const char *reason)
{
    self->status = status;
    self->retry_after = -1;
    self->reason = copy(reason, strlen(reason));
}

void launch_answer_clear(launch_answer *self)
{
    free(self->reason);
    free(self->error_type);
    free(self->body);
    memset(self, 0, sizeof *self);
}

/* -- receiving ----------------------------------------------------------------------------------------------- */

void reply_begin(reply *self)
{
    self->headers_done = false;
    self->taken = self->kept = 0;
    self->error_type[0] = self->fault[0] = '\0';
    self->retry_after = -1;
}

size_t reply_take_body(char *data, size_t one, size_t size, void *context)
{
    reply *self = context;
    (void)one;
    size_t room = sizeof self->body - self->kept;
    size_t kept = size < room ? size : room;
    memcpy(self->body + self->kept, data, kept);
    self->kept += kept;
    self->taken += size;
    return self->taken > ANSWER_BODY_TAKEN ? 0 : size;
}

/* The value of the header, if it has this name, without the blanks around it. */
static bool header_value(const char *data, size_t size, const char *name, char *value, size_t room)
{
    size_t length = strlen(name);
    if (size <= length || data[length] != ':' || strncasecmp(data, name, length) != 0)
        return false;
    const char *end = data + size;
    for (data += length + 1; data < end && (*data == ' ' || *data == '\t'); data++)
        ;
    while (end > data && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t'))
        end--;
    size_t used = (size_t)(end - data) < room - 1 ? (size_t)(end - data) : room - 1;
    memcpy(value, data, used);
    value[used] = '\0';
    return true;
}

size_t reply_take_header(char *data, size_t one, size_t size, void *context)
{
    reply *self = context;
    char value[32];
    (void)one;
    if (size >= 5 && memcmp(data, "HTTP/", 5) == 0) {
        self->headers_done = false;
        self->error_type[0] = '\0';
        self->retry_after = -1;
    } else if (size <= 2) {
        self->headers_done = true;
    } else if (header_value(data, size, "x-amzn-ErrorType", self->error_type, sizeof self->error_type)) {
        /* AWS puts the address of an XML namespace behind a colon. A text that is no name is ignored. */
        self->error_type[strspn(self->error_type, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._")] =
            '\0';
    } else if (header_value(data, size, "Retry-After", value, sizeof value)) {
        char *end;
        double seconds = strtod(value, &end);
        if (end != value && *end == '\0' && seconds >= 0)
            self->retry_after = seconds < 3600 ? seconds : 3600;
    }
    return size;
}

/* -- interpreting --------------------------------------------------------------------------------------------- */

static void note_times(CURL *easy, double started, double times[TIMES])
{
    static const CURLINFO infos[TIMES] = {
        [TIME_CONNECTED] = CURLINFO_CONNECT_TIME_T,
        [TIME_SECURED] = CURLINFO_APPCONNECT_TIME_T,
        [TIME_FIRST_BYTE] = CURLINFO_STARTTRANSFER_TIME_T,
        [TIME_TOTAL] = CURLINFO_TOTAL_TIME_T,
    };
    times[TIME_STARTED] = started;
    for (int at = TIME_CONNECTED; at < TIMES; at++) {
        curl_off_t microseconds = 0;
        curl_easy_getinfo(easy, infos[at], &microseconds);
        times[at] = (double)microseconds / 1e6;
    }
}

static bool is_hopeless(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_URL_MALFORMAT ||
           code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_ENGINE_NOTFOUND;
}

/* Whether no request can have been sent: libcurl does not return these codes of a kept connection. */
static bool is_unreached(CURL *easy, CURLcode code)
{
    curl_off_t sending = 0;
    if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_COULDNT_CONNECT ||
        code == CURLE_SSL_CONNECT_ERROR)
        return true;
    curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sending);
    return code == CURLE_OPERATION_TIMEDOUT && sending == 0;
}

/* Why there is no answer: libcurl's text, or the system's where no connection was made, which libcurl omits. */
static void say_fault(const reply *self, CURL *easy, CURLcode code, char *into, size_t room)
{
    long number = 0;
    char text[128];
    if (code == CURLE_COULDNT_CONNECT && curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number) == CURLE_OK &&
        number != 0 && strerror_r((int)number, text, sizeof text) == 0)
        snprintf(into, room, "cannot connect: %s", text);
    else
        snprintf(into, room, "%s",
                 code == CURLE_OK ? "the endpoint did not answer in HTTP"
                 : *self->fault   ? self->fault
                                  : curl_easy_strerror(code));
}

void reply_end(const reply *self, CURL *easy, CURLcode code, double started, launch_answer *answer)
{
    note_times(easy, started, answer->times);
    answer->retry_after = self->retry_after;
    if (self->headers_done)
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer->status);
    if (!self->headers_done || answer->status < 200) {
        char fault[CURL_ERROR_SIZE];
        say_fault(self, easy, code, fault, sizeof fault);
        launch_answer_refuse(answer,
                             is_hopeless(code)          ? ANSWER_NEVER
                             : is_unreached(easy, code) ? ANSWER_UNREACHED
                                                        : ANSWER_NONE,
                             fault);
    } else if (answer->status != 202) {
        answer->error_type = copy(self->error_type, strlen(self->error_type));
        answer->body = copy(self->body, self->kept);
        answer->body_size = answer->body ? self->kept : 0;
    }
}
