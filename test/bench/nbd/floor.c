/*
 * An NBD server that does nothing but the protocol: what it reads lies in one buffer that stays in
 * the processor's cache, what is written goes there too, nothing is checked or kept. What it reaches
 * is about what the client and the kernel's sockets leave to any server that copies.
 *
 *     floor SOCKET BYTES
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
  OPT_ABORT = 2,
  OPT_INFO = 6,
  OPT_GO = 7,
  OPT_STRUCTURED_REPLY = 8,
  REP_ACK = 1,
  REP_INFO = 3,
  CMD_READ = 0,
  CMD_WRITE = 1,
  CMD_DISC = 2,
  /* HAS_FLAGS, SEND_FLUSH, SEND_FUA, CAN_MULTI_CONN */
  EXPORT_FLAGS = 0x1 | 0x4 | 0x8 | 0x100,
  /* Of a request that is the only one for now, before the thread sleeps. */
  SPIN_NS = 50000,
  REPLIES_MAX = 256,
  DATA_BYTES = 2 << 20,
  BUFFER_BYTES = 256 << 10,
};

static const uint32_t REP_ERR_UNSUP = 0x80000001;
static const uint64_t OPTION_REPLY_MAGIC = 0x3e889045565a9;

struct request {
  uint32_t magic;
  uint16_t flags, type;
  uint64_t cookie, offset;
  uint32_t length;
} __attribute__((packed));

/* The chunk of a structured reply; `offset` is in that of a read alone. */
struct chunk {
  uint32_t magic;
  uint16_t flags, type;
  uint64_t cookie;
  uint32_t length;
  uint64_t offset;
} __attribute__((packed));

static uint64_t export_bytes;
static atomic_int connections;

struct connection {
  int fd;
  /* Received and not looked at yet: [start, end) of `buffer`. */
  size_t start, end;
  int replies;
  struct chunk chunks[REPLIES_MAX];
  struct iovec parts[2 * REPLIES_MAX];
  int part_count;
  char buffer[BUFFER_BYTES];
  char data[DATA_BYTES];
};

static void die(const char *what)
{
  perror(what);
  exit(1);
}

static int64_t now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Looks again for a while where no other connection wants the processor; 0 at the end. */
static ssize_t receive(int fd, void *to, size_t length)
{
  if (connections == 1) {
    for (int64_t until = now_ns() + SPIN_NS; now_ns() < until;) {
      ssize_t got = recv(fd, to, length, MSG_DONTWAIT);
      if (got >= 0 || errno != EAGAIN) return got;
    }
  }
  return recv(fd, to, length, 0);
}

static int receive_all(int fd, void *to, size_t length)
{
  for (char *at = to; length > 0;) {
    ssize_t got = recv(fd, at, length, 0);
    if (got <= 0) return 0;
    at += got;
    length -= got;
  }
  return 1;
}

static int send_all(int fd, struct iovec *parts, int count)
{
  while (count > 0) {
    ssize_t sent = writev(fd, parts, count);
    if (sent < 0) return 0;
    while (count > 0 && (size_t)sent >= parts->iov_len) {
      sent -= parts->iov_len;
      parts++;
      count--;
    }
    if (count == 0) break;
    parts->iov_base = (char *)parts->iov_base + sent;
    parts->iov_len -= sent;
  }
  return 1;
}

static int answer_option(int fd, uint32_t option, uint32_t type, const void *data, uint32_t length)
{
  struct {
    uint64_t magic;
    uint32_t option, type, length;
  } __attribute__((packed)) head = {
    htobe64(OPTION_REPLY_MAGIC), htobe32(option), htobe32(type), htobe32(length),
  };
  struct iovec parts[] = { { &head, sizeof head }, { (void *)data, length } };
  return send_all(fd, parts, length > 0 ? 2 : 1);
}

static int answer_info(int fd, uint32_t option)
{
  struct {
    uint16_t kind;
    uint64_t bytes;
    uint16_t flags;
  } __attribute__((packed)) info = { 0, htobe64(export_bytes), htobe16(EXPORT_FLAGS) };
  return answer_option(fd, option, REP_INFO, &info, sizeof info) &&
         answer_option(fd, option, REP_ACK, NULL, 0);
}

/* Whether the client goes on to transmission. */
static int negotiate(struct connection *c)
{
  struct iovec greeting = { "NBDMAGICIHAVEOPT\0\3", 18 };
  uint32_t client_flags;
  if (!send_all(c->fd, &greeting, 1) || !receive_all(c->fd, &client_flags, 4)) return 0;
  for (;;) {
    struct {
      uint64_t magic;
      uint32_t option, length;
    } __attribute__((packed)) asked;
    if (!receive_all(c->fd, &asked, sizeof asked)) return 0;
    uint32_t option = be32toh(asked.option), length = be32toh(asked.length);
    if (length > BUFFER_BYTES || !receive_all(c->fd, c->buffer, length)) return 0;
    if (option == OPT_INFO || option == OPT_GO) {
      if (!answer_info(c->fd, option)) return 0;
      if (option == OPT_GO) return 1;
    } else {
      int known = option == OPT_STRUCTURED_REPLY || option == OPT_ABORT;
      if (!answer_option(c->fd, option, known ? REP_ACK : REP_ERR_UNSUP, NULL, 0)) return 0;
      if (option == OPT_ABORT) return 0;
    }
  }
}

static int send_replies(struct connection *c)
{
  int sent = send_all(c->fd, c->parts, c->part_count);
  c->replies = c->part_count = 0;
  return sent;
}

static void add_reply(struct connection *c, const struct request *request, uint32_t read_bytes)
{
  struct chunk *chunk = &c->chunks[c->replies++];
  chunk->magic = htobe32(0x668e33ef);
  chunk->flags = htobe16(1);
  chunk->type = htobe16(read_bytes > 0);
  chunk->cookie = request->cookie;
  chunk->length = htobe32(read_bytes > 0 ? 8 + read_bytes : 0);
  chunk->offset = request->offset;
  size_t head = sizeof *chunk - (read_bytes > 0 ? 0 : sizeof chunk->offset);
  c->parts[c->part_count++] = (struct iovec){ chunk, head };
  if (read_bytes > 0) c->parts[c->part_count++] = (struct iovec){ c->data, read_bytes };
}

/* Drops the payload of a write: what has come already, then the rest. */
static int take_payload(struct connection *c, size_t length)
{
  size_t here = c->end - c->start < length ? c->end - c->start : length;
  c->start += here;
  return receive_all(c->fd, c->data, length - here);
}

/* Moves what is left to the front and receives more; whether there is more. */
static int receive_more(struct connection *c)
{
  memmove(c->buffer, c->buffer + c->start, c->end - c->start);
  c->end -= c->start;
  c->start = 0;
  ssize_t got = receive(c->fd, c->buffer + c->end, BUFFER_BYTES - c->end);
  if (got <= 0) return 0;
  c->end += got;
  return 1;
}

static void transmit(struct connection *c)
{
  for (;;) {
    while (c->end - c->start >= sizeof(struct request)) {
      struct request request;
      memcpy(&request, c->buffer + c->start, sizeof request);
      c->start += sizeof request;
      uint32_t length = be32toh(request.length);
      uint16_t type = be16toh(request.type);
      if (type == CMD_DISC || length > DATA_BYTES) return;
      if (type == CMD_WRITE && !take_payload(c, length)) return;
      add_reply(c, &request, type == CMD_READ ? length : 0);
      if (c->replies == REPLIES_MAX && !send_replies(c)) return;
    }
    if (!send_replies(c) || !receive_more(c)) return;
  }
}

static void *serve(void *connection)
{
  struct connection *c = connection;
  connections++;
  if (negotiate(c)) transmit(c);
  connections--;
  close(c->fd);
  free(c);
  return NULL;
}

int main(int count, char **arguments)
{
  if (count != 3) {
    fprintf(stderr, "usage: floor SOCKET BYTES\n");
    return 2;
  }
  /* A client may leave in the middle of an answer. */
  signal(SIGPIPE, SIG_IGN);
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  strncpy(address.sun_path, arguments[1], sizeof address.sun_path - 1);
  export_bytes = strtoull(arguments[2], NULL, 10);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
  if (listen(listener, 64) < 0) die("listen");
  for (;;) {
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL || (c->fd = accept(listener, NULL, NULL)) < 0) die("accept");
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, c) != 0) die("pthread_create");
    pthread_detach(thread);
  }
}
