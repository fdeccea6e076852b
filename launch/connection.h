/* One connection to the endpoint: libcurl looks up its name, goes through a proxy and does TLS, and then carries bytes.
 *
 * Knows nothing of HTTP or launches. */
#ifndef MU_CONNECTION_H
#define MU_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>

#include <curl/curl.h>

typedef struct {
    const char *url;       /* of the endpoint, whose path does not count */
    const char *ca_bundle; /* file, or NULL: the system's */
    const char *proxy;     /* URL, or NULL: none */
    double connect_timeout, timeout; /* seconds; for making it, both hold */
} connection_options;

/* Connections that are made together: one call serves all those that are being made. */
typedef struct {
    CURLM *multi;
    CURLSH *sessions; /* of TLS, which later connections resume */
    int opening;
} connection_group;

typedef enum { CONNECTION_CLOSED, CONNECTION_OPENING, CONNECTION_OPEN } connection_state;

typedef struct {
    connection_group *group;
    CURL *easy;
    connection_state state;
    int descriptor; /* of an open one: for waiting alone, all bytes go through the functions below */
    void *owner;
    char fault[CURL_ERROR_SIZE];
} connection;

typedef enum { CONNECTION_DONE, CONNECTION_BLOCKED, CONNECTION_ENDED, CONNECTION_FAILED } connection_outcome;

/* False where there is no memory. most: connections in it. */
bool connection_group_init(connection_group *self, int most);

/* All of its connections must be gone. Safe on one that was only zeroed. */
void connection_group_clear(connection_group *self);

/* Wait until one that is being made goes on or the descriptor is readable, for so many milliseconds at most. */
bool connection_group_wait(connection_group *self, int descriptor, int milliseconds);

/* Go on with those that are being made. False where libcurl fails. */
bool connection_group_proceed(connection_group *self);

/* One that has come to be open or closed since, and libcurl's code of it; NULL where there is none left. */
connection *connection_group_next(connection_group *self, CURLcode *code);

/* False where libcurl does not take the options. */
bool connection_init(connection *self, connection_group *group, const connection_options *options, void *owner);

/* Safe on one that was only zeroed. */
void connection_clear(connection *self);

/* Begin to make a closed one. */
bool connection_begin(connection *self);

void connection_close(connection *self);

/* Whether the endpoint's name has been found to have an address. */
bool connection_has_address(const connection *self);

/* DONE: some bytes went out, or came in; BLOCKED: none can now; ENDED: none come any more. */
connection_outcome connection_send(connection *self, const char *data, size_t size, size_t *sent);
connection_outcome connection_receive(connection *self, char *data, size_t room, size_t *received);

/* Whether this code of a connection that could not be made says that trying again does not help. */
bool connection_is_hopeless(CURLcode code);

/* Why it failed: libcurl's text, or the system's where the endpoint could not be dialled, which libcurl omits. */
void connection_say_fault(const connection *self, CURLcode code, char *into, size_t room);

#endif
