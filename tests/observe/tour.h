/* SPDX-License-Identifier: MIT */
/*
 * A tour of the module: a TD of two vCPUs, built, run and half taken apart by one thread, so that
 * every kind of line comes up in its event stream, the same lines at every run.
 */
#ifndef TESTS_OBSERVE_TOUR_H
#define TESTS_OBSERVE_TOUR_H

/* tour_record - take the tour and write its stream to @path */
void tour_record(const char *path);

#endif
