/* SPDX-License-Identifier: MIT */
/*
 * What `noctule store` does with a store, beside a broker that may be using it. Errors are told on
 * stderr; each returns an exit code. The thread that calls; none of them is part of a broker.
 */
#pragma once

#include "broker/store/lmdb.h"

#include <stdio.h>

/* Reads everything, in a child process, and prints what there is. 1: something is damaged. */
int store_check(const char *path, FILE *out);
/* Prints every record, one JSON object a line. */
int store_dump(const char *path, FILE *out);
/* A new store with the records of a dump; `options` say where. */
int store_import(const struct lmdb_store_options *options, FILE *in);
/* A whole and compact copy of the store as it is at this moment, in a folder that is empty or not
 * there. */
int store_backup(const char *path, const char *target);
