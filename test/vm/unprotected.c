/*
 * Switches off what keeps a server safe where memory is short: it neither becomes an I/O flusher nor locks memory.
 *
 *   gcc -shared -fPIC -o build/unprotected.so test/vm/unprotected.c
 *   scripts/vm --mem 1G 'LD_PRELOAD=$PWD/build/unprotected.so node dist-test/vm/low-memory.test.js'
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

int mlock(const void *begin, size_t bytes) { return (void)begin, (void)bytes, 0; }
int mlock2(const void *begin, size_t bytes, unsigned flags) { return (void)begin, (void)bytes, (void)flags, 0; }

int prctl(int option, ...) {
  va_list rest;
  va_start(rest, option);
  const long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long), d = va_arg(rest, long);
  va_end(rest);
  return option == PR_SET_IO_FLUSHER ? 0 : (int)syscall(SYS_prctl, option, a, b, c, d);
}
