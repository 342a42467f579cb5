/* SPDX-License-Identifier: MIT */
/* `septum seamcall --replay`: the calls of an event stream, made again. */
#ifndef CLI_SEAMCALL_REPLAY_H
#define CLI_SEAMCALL_REPLAY_H

/** seamcall_replay - replay @path and report; @json: a file for one object, or NULL; exit status */
int seamcall_replay(const char *path, const char *json);

#endif
