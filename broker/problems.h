/* SPDX-License-Identifier: MIT */
/*
 * The list of everything that is wrong with a configuration, so that one run shows all of it. It
 * owns its texts and is bounded; one thread fills it and prints it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum problem_severity {
    PROBLEM_WARNING, /* named, and then ignored */
    PROBLEM_ERROR,   /* the configuration is not used */
};

struct problem {
    enum problem_severity severity;
    unsigned line; /* 0: the problem is not in one line */
    char *file;    /* NULL: not in a file either (the command line) */
    char *text;    /* what is wrong, and what was meant */
    size_t place;  /* of the file among those in which there was something */
};

/* Starts as {0}. */
struct problems {
    struct problem *list; /* in the order in which they were found, or sorted */
    size_t count;
    size_t capacity;
    size_t errors;  /* all errors, also those that found no room in the list */
    size_t dropped; /* problems that found no room */
};

#define PROBLEMS_MAX     1000 /* more are counted, not kept */
#define PROBLEM_TEXT_MAX 1024 /* a longer text is cut */

/* Aborts without memory: what is in the list was written by the operator. */
void problems_add(struct problems *problems, enum problem_severity severity, const char *file,
                  unsigned line, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* By file, in the order in which there was something in them, and line. */
void problems_sort(struct problems *problems);

/* "noctule.conf:12: what is wrong" (errors) or "noctule.conf:12: warning: what is odd" into `buf`;
 * returns `buf`. */
char *problem_line(const struct problem *problem, char *buf, size_t size);

/* One line each. */
void problems_print(const struct problems *problems, FILE *out);

/* Frees what it owns; afterwards it is {0} again. */
void problems_done(struct problems *problems);
