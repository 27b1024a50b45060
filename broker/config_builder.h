/* SPDX-License-Identifier: MIT */
/*
 * A configuration while it is being read: where each option was set, and which listener the next
 * line belongs to. Only config.c (files and lines) and config_builder.c (listeners and what must
 * fit together) include this. One builder belongs to one thread and lives for one config_load().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "broker/config.h"
#include "broker/options.h"
#include "broker/problems.h"

/* Where an option was set; `file` is NULL where it was not. */
struct origin {
    const char *file;
    unsigned line;
};

/* mosquitto's plugins that an option of ours stands for. */
enum { KNOWN_PLUGINS = 2 };
extern const struct known_plugin {
    const char *name;   /* of its file, without the ending */
    const char *key;    /* of the option */
    const char *option; /* of the plugin, which then says the same */
} known_plugins[KNOWN_PLUGINS];

/* Listener options with their origins, one origin for each row of the table. */
struct draft {
    struct listener_config values;
    struct origin *set;
    struct origin plugins[KNOWN_PLUGINS]; /* of the line that names it */
    bool broken; /* its own line was wrong: it is there only for the lines that follow */
};

struct builder {
    struct config *config;
    struct origin *set;      /* of the global options */
    struct draft before;     /* listener options that stand before the first listener */
    struct draft shared;     /* security options that hold for all listeners */
    struct draft *listeners; /* those that were configured */
    size_t listener_count;
    size_t current; /* of the listener that lines belong to; NO_LISTENER */

    struct origin default_listener; /* of the first port or bind_address */
    struct origin security;         /* of the first security option */
    bool bridge;                    /* a connection was refused: its options go with it */

    struct problems *problems;
    struct origin here; /* the line that is being read */
    bool in_memory;     /* no other file may be looked at */
    unsigned depth;     /* of inclusion */
    unsigned included;  /* files so far */
    char **names;       /* of the files, which the origins point to */
    size_t name_count;
};

#define NO_LISTENER      SIZE_MAX
#define LISTENERS_MAX    1000
#define UNIX_PATH_MAX    107 /* what struct sockaddr_un takes */
#define ADDRESS_MAX      255
#define MAX_DEPTH        1 /* as mosquitto: only the main file includes */
#define MAX_INCLUDED     1000
#define CONFIG_BYTES_MAX (1u << 20)

/* A configuration with a reference and all defaults, without listeners. */
struct config *config_new(void);

/* Frees what a listener owns, not the struct. */
void listener_clear(struct listener_config *listener);

/* Do both listen on the same port and address, or path? */
bool listener_same_place(const struct listener_config *a, const struct listener_config *b);

/* All defaults of a listener into zeroed memory. */
void listener_preset(struct listener_config *listener);

void builder_init(struct builder *builder, struct problems *problems);
void builder_done(struct builder *builder);

/* A copy of the name that lives as long as the builder. */
const char *builder_keep_name(struct builder *builder, const char *name);

/* Adds a problem of the line that is being read, or of another. */
void complain(struct builder *builder, enum problem_severity severity, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void complain_at(struct builder *builder, struct origin origin, enum problem_severity severity,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Begins a listener, which the following lines belong to. Both strings are copied and may be NULL.
 * The result is valid until the next call. */
struct draft *builder_add_listener(struct builder *builder, uint16_t port, const char *address,
                                   const char *unix_path);

/* Gives each listener what it has not set itself, adds the built-in ones if there is none, and
 * looks whether all fits together. The configuration is complete afterwards. */
void builder_finish(struct builder *builder, const struct config_overrides *overrides);
