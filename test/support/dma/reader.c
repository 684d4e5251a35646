/*
 * Has the kernel store into a leased range: reads a source by O_DIRECT into the map of a
 * backing, until its standard input ends.
 *
 *     reader pread|uring BACKING DEVICE_OFFSET LENGTH SOURCE
 *
 * Pass N reads block N of the source, of LENGTH bytes and counted round, into the whole range;
 * "pass N begins" and "pass N ends" stand around it. `uring` reads by io_uring into the range
 * as a registered buffer, 8 pieces at a time; it exits with 77 where the kernel has no io_uring.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECES 8
#define NO_ABILITY 77

static char *range;
static size_t length;
static int source;

static void fail(const char *what, int number, int status) {
  fprintf(stderr, "%s: %s\n", what, strerror(number));
  exit(status);
}

static int ring;
static struct io_uring_params params;
static char *rings;
static struct io_uring_sqe *entries;

static void open_ring(void) {
  ring = syscall(SYS_io_uring_setup, PIECES, &params);
  if (ring < 0) fail("io_uring_setup", errno, errno == ENOSYS || errno == EPERM ? NO_ABILITY : 1);
  size_t submissions = params.sq_off.array + params.sq_entries * sizeof(unsigned);
  size_t completions = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
  /* One map holds both rings since Linux 5.4. */
  rings = mmap(NULL, submissions > completions ? submissions : completions, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
  entries = mmap(NULL, params.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
  if (rings == MAP_FAILED || entries == MAP_FAILED) fail("mmap of the ring", errno, 1);
  struct iovec buffer = {range, length};
  if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1) < 0)
    fail("IORING_REGISTER_BUFFERS", errno, 1);
}

static void close_ring(void) {
  /* The end of the process would unpin the pages, too, but some time after it. */
  if (syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0) < 0)
    fail("IORING_UNREGISTER_BUFFERS", errno, 1);
}

static void read_by_uring(off_t from) {
  unsigned *tail = (unsigned *)(rings + params.sq_off.tail);
  unsigned mask = *(unsigned *)(rings + params.sq_off.ring_mask);
  size_t piece = length / PIECES;
  for (unsigned i = 0; i < PIECES; i++) {
    unsigned slot = (*tail + i) & mask;
    entries[slot] = (struct io_uring_sqe){
        .opcode = IORING_OP_READ_FIXED,
        .fd = source,
        .off = from + i * piece,
        .addr = (unsigned long)(range + i * piece),
        .len = piece,
        .buf_index = 0,
    };
    ((unsigned *)(rings + params.sq_off.array))[slot] = slot;
  }
  __atomic_store_n(tail, *tail + PIECES, __ATOMIC_RELEASE);

  unsigned *head = (unsigned *)(rings + params.cq_off.head);
  unsigned *end = (unsigned *)(rings + params.cq_off.tail);
  unsigned completion_mask = *(unsigned *)(rings + params.cq_off.ring_mask);
  struct io_uring_cqe *completions = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
  for (unsigned submit = PIECES, done = 0; done < PIECES;) {
    int taken = syscall(SYS_io_uring_enter, ring, submit, 1, IORING_ENTER_GETEVENTS, NULL, 0);
    if (taken < 0 && errno != EINTR) fail("io_uring_enter", errno, 1);
    if (taken > 0) submit -= taken;
    while (*head != __atomic_load_n(end, __ATOMIC_ACQUIRE)) {
      int got = completions[*head & completion_mask].res;
      if (got != (int)piece) fail("READ_FIXED", got < 0 ? -got : ENODATA, 1);
      __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
      done++;
    }
  }
}

static void read_by_pread(off_t from) {
  for (size_t done = 0; done < length;) {
    ssize_t got = pread(source, range + done, length - done, from + done);
    if (got <= 0) fail("pread", got < 0 ? errno : ENODATA, 1);
    done += got;
  }
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  int uring = strcmp(argv[1], "uring") == 0;
  length = strtoull(argv[4], NULL, 10);
  int backing = open(argv[2], O_RDWR);
  source = open(argv[5], O_RDONLY | O_DIRECT);
  struct stat stat;
  if (backing < 0 || source < 0 || fstat(source, &stat) < 0) fail("open", errno, 1);
  range = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, backing, strtoll(argv[3], NULL, 10));
  if (range == MAP_FAILED) fail(argv[2], errno, 1);
  close(backing);
  if (uring) open_ring();

  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  for (unsigned long pass = 0; poll(&input, 1, 0) == 0; pass++) {
    off_t from = (pass % (stat.st_size / length)) * length;
    printf("pass %lu begins\n", pass);
    fflush(stdout);
    if (uring) read_by_uring(from);
    else read_by_pread(from);
    printf("pass %lu ends\n", pass);
    fflush(stdout);
  }
  if (uring) close_ring();
  return 0;
}
