/* SPDX-License-Identifier: MIT */
/*
 * $SYS: what the broker says about itself, as retained messages under mosquitto's names. Worker 0
 * publishes them every sys_interval; each is a row of the table in sys.c. Only values that have
 * changed are published.
 */
#pragma once

struct worker;

/* On worker 0, once: publishes at once, and from then on by its timer. */
void sys_start(struct worker *worker);
/* After a change of sys_interval; on a worker that publishes no $SYS nothing happens. */
void sys_reload(struct worker *worker);
void sys_free(struct worker *worker);
