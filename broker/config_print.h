/* SPDX-License-Identifier: MIT */
/*
 * The documents for users that are generated from the option table: conf/noctule.conf and
 * conf/OPTIONS.md. A test compares them with the files in the tree. Any thread may call these; they
 * only write to `out`.
 */
#pragma once

#include <stdio.h>

/* A configuration with every option in it, commented out, with its manual and its default. */
void config_print_sample(FILE *out);

/* The reference in Markdown: a table for each group, and what becomes of mosquitto's other options.
 */
void config_print_options(FILE *out);
