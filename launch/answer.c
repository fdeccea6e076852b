#include "answer.h"

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

/* -- the head -------------------------------------------------------------------------------------------------- */

static void begin_head(reply *self)
{
    self->stage = REPLY_STATUS_LINE;
    self->announced = 0;
    self->reusable = true;
    self->has_length = self->chunked = false;
    self->left = 0;
    self->error_type[0] = '\0';
    self->retry_after = -1;
}

void reply_begin(reply *self)
{
    begin_head(self);
    self->status = 0;
    self->received = self->lines = self->taken = self->kept = self->line_size = 0;
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

static void take_status_line(reply *self)
{
    const char *line = self->line;
    bool sound = self->line_size >= 12 && memcmp(line, "HTTP/1.", 7) == 0 && is_digit(line[7]) && line[8] == ' ' &&
                 line[9] >= '1' && line[9] <= '9' && is_digit(line[10]) && is_digit(line[11]) &&
                 (line[12] == ' ' || line[12] == '\0');
    self->stage = sound ? REPLY_HEADER : REPLY_BROKEN;
    if (!sound)
        return;
    self->announced = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    self->reusable = line[7] != '0';
}

/* The value of the header in the line, without the blanks around it, if it has this name; else NULL. */
static const char *header_value(reply *self, const char *name)
{
    size_t length = strlen(name);
    if (strncasecmp(self->line, name, length) != 0 || self->line[length] != ':')
        return NULL;
    char *value = self->line + length + 1, *end = self->line + self->line_size;
    while (*value == ' ' || *value == '\t')
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
    return value;
}

static void take_length(reply *self, const char *value)
{
    unsigned long long length = 0;
    size_t digits = 0;
    for (; is_digit(value[digits]); digits++)
        length = length * 10 + (unsigned)(value[digits] - '0');
    if (digits == 0 || digits > 18 || value[digits] || (self->has_length && length != self->left)) {
        self->stage = REPLY_BROKEN;
        return;
    }
    self->has_length = true;
    self->left = length;
}

static void take_header(reply *self)
{
    const char *value;
    if ((value = header_value(self, "Content-Length")))
        take_length(self, value);
    else if ((value = header_value(self, "Transfer-Encoding"))) {
        self->chunked = strcasecmp(value, "chunked") == 0;
        if (!self->chunked)
            self->stage = REPLY_BROKEN;
    } else if ((value = header_value(self, "Connection")))
        self->reusable = self->reusable && strcasecmp(value, "keep-alive") == 0;
    else if ((value = header_value(self, "x-amzn-ErrorType"))) {
        /* AWS puts the address of an XML namespace behind a colon. A text that is no name is ignored. */
        size_t size = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._");
        size = size < sizeof self->error_type ? size : sizeof self->error_type - 1;
        memcpy(self->error_type, value, size);
        self->error_type[size] = '\0';
    } else if ((value = header_value(self, "Retry-After"))) {
        char *end;
        double seconds = strtod(value, &end);
        if (end != value && *end == '\0' && seconds >= 0)
            self->retry_after = seconds < 3600 ? seconds : 3600;
    }
}

static void end_head(reply *self)
{
    if (self->announced < 200) {
        /* Said before the answer; another protocol was not asked for. */
        bool another = self->announced == 101;
        begin_head(self);
        if (another)
            self->stage = REPLY_BROKEN;
        return;
    }
    self->status = self->announced;
    if (self->status == 204 || self->status == 304)
        self->stage = REPLY_COMPLETE;
    else if (self->chunked) {
        /* With a length, too, it is not sure where the next answer begins. */
        self->reusable = self->reusable && !self->has_length;
        self->stage = REPLY_CHUNK_SIZE;
    } else if (self->has_length)
        self->stage = self->left > 0 ? REPLY_BODY : REPLY_COMPLETE;
    else {
        self->reusable = false;
        self->stage = REPLY_UNTIL_CLOSE;
    }
}

/* -- the body -------------------------------------------------------------------------------------------------- */

static int hex_value(char byte)
{
    if (is_digit(byte))
        return byte - '0';
    return (byte | 32) >= 'a' && (byte | 32) <= 'f' ? (byte | 32) - 'a' + 10 : -1;
}

static void take_chunk_size(reply *self)
{
    unsigned long long size = 0;
    size_t digits = 0;
    for (; hex_value(self->line[digits]) >= 0; digits++)
        size = size * 16 + (unsigned)hex_value(self->line[digits]);
    char behind = self->line[digits];
    if (digits == 0 || digits > 15 || (behind && behind != ';' && behind != ' ' && behind != '\t'))
        self->stage = REPLY_BROKEN;
    else {
        self->left = size;
        self->stage = size > 0 ? REPLY_CHUNK : REPLY_TRAILER;
    }
}

/* Take some of the body; how many bytes of it there were. */
static size_t take_body(reply *self, const char *data, size_t size)
{
    bool measured = self->stage != REPLY_UNTIL_CLOSE;
    size_t used = measured && self->left < size ? (size_t)self->left : size;
    size_t room = sizeof self->body - self->kept, kept = used < room ? used : room;
    memcpy(self->body + self->kept, data, kept);
    self->kept += kept;
    self->taken += used;
    if (measured) {
        self->left -= used;
        if (self->left == 0)
            self->stage = self->stage == REPLY_CHUNK ? REPLY_CHUNK_END : REPLY_COMPLETE;
    }
    if (self->taken > ANSWER_BODY_TAKEN)
        self->stage = REPLY_BROKEN;
    return used;
}

/* -- all of it ------------------------------------------------------------------------------------------------- */

static void take_line(reply *self)
{
    bool empty = self->line_size == 0;
    switch (self->stage) {
    case REPLY_STATUS_LINE:
        take_status_line(self);
        break;
    case REPLY_HEADER:
        if (empty)
            end_head(self);
        else
            take_header(self);
        break;
    case REPLY_CHUNK_SIZE:
        take_chunk_size(self);
        break;
    case REPLY_CHUNK_END:
        self->stage = empty ? REPLY_CHUNK_SIZE : REPLY_BROKEN;
        break;
    default: /* the trailer */
        if (empty)
            self->stage = REPLY_COMPLETE;
    }
}

/* Take what there is of a line, and the line where it is complete; how many bytes there were. */
static size_t gather_line(reply *self, const char *data, size_t size)
{
    const char *end = memchr(data, '\n', size);
    size_t used = end ? (size_t)(end - data) : size, room = sizeof self->line - 1 - self->line_size;
    size_t kept = used < room ? used : room;
    memcpy(self->line + self->line_size, data, kept);
    self->line_size += kept;
    used += end != NULL;
    self->lines += used;
    /* Before a line is taken, or the answer would depend on the pieces that it comes in. */
    if (self->lines > ANSWER_HEAD_TAKEN)
        self->stage = REPLY_BROKEN;
    else if (end) {
        if (self->line_size > 0 && self->line[self->line_size - 1] == '\r')
            self->line_size--;
        self->line[self->line_size] = '\0';
        take_line(self);
        self->line_size = 0;
    }
    return used;
}

bool reply_take(reply *self, const char *data, size_t size)
{
    self->received += size;
    while (size > 0 && self->stage < REPLY_COMPLETE) {
        bool body = self->stage == REPLY_BODY || self->stage == REPLY_CHUNK || self->stage == REPLY_UNTIL_CLOSE;
        size_t used = body ? take_body(self, data, size) : gather_line(self, data, size);
        data += used;
        size -= used;
    }
    /* What comes behind an answer was not asked for. */
    self->reusable = self->reusable && size == 0 && self->stage != REPLY_BROKEN;
    return self->stage < REPLY_COMPLETE;
}

void reply_end(const reply *self, launch_answer *answer)
{
    answer->status = self->status;
    answer->retry_after = self->retry_after;
    if (self->status == 202)
        return;
    answer->error_type = copy(self->error_type, strlen(self->error_type));
    answer->body = copy(self->body, self->kept);
    answer->body_size = answer->body ? self->kept : 0;
}
