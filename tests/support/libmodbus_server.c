/* A Modbus server on libmodbus, TCP, or RTU where a terminal is given in place of a port: a device that shares no code with the driver under test.
 *
 * Serves 200 coils, discrete inputs, input and holding registers from address 0 on; whatever
 * lies behind is an illegal address. Told what to do by lines on standard input, and answers
 * each with one line:
 *
 *     set TABLE ADDRESS VALUE...   ok          TABLE: coil, discrete, input, holding
 *     get TABLE ADDRESS COUNT      VALUE...
 *     fail FUNCTION CODE           ok          answer that function with that exception; 0 ends it
 *     delay MILLISECONDS           ok          before each reply
 *     count                        N           requests served so far
 *
 * Prints its port first. Ends when standard input does.
 */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

enum { SIZE = 200, LINE = 4096 };

static int failing[256];
static int delay_ms;
static long served;

static int is_bits(const char *table) { return !strcmp(table, "coil") || !strcmp(table, "discrete"); }

static uint8_t *bits_of(modbus_mapping_t *map, const char *table)
{
    return !strcmp(table, "coil") ? map->tab_bits : map->tab_input_bits;
}

static uint16_t *registers_of(modbus_mapping_t *map, const char *table)
{
    return !strcmp(table, "holding") ? map->tab_registers : map->tab_input_registers;
}

static void set_values(modbus_mapping_t *map, const char *table, int address, char *rest)
{
    for (char *word = strtok(rest, " "); word && address < SIZE; word = strtok(NULL, " "), address++) {
        if (is_bits(table))
            bits_of(map, table)[address] = (uint8_t) atoi(word);
        else
            registers_of(map, table)[address] = (uint16_t) atoi(word);
    }
    puts("ok");
}

static void get_values(modbus_mapping_t *map, const char *table, int address, int count)
{
    for (int i = address; i < address + count && i < SIZE; i++)
        printf("%d ", is_bits(table) ? bits_of(map, table)[i] : registers_of(map, table)[i]);
    puts("");
}

static void obey(modbus_mapping_t *map, char *line)
{
    char table[16];
    int first = 0, second = 0, used = 0;

    line[strcspn(line, "\n")] = 0;
    if (sscanf(line, "set %15s %d %n", table, &first, &used) == 2)
        set_values(map, table, first, line + used);
    else if (sscanf(line, "get %15s %d %d", table, &first, &second) == 3)
        get_values(map, table, first, second);
    else if (sscanf(line, "fail %d %d", &first, &second) == 2) {
        failing[first & 255] = second;
        puts("ok");
    } else if (sscanf(line, "delay %d", &first) == 1) {
        delay_ms = first;
        puts("ok");
    } else if (!strcmp(line, "count"))
        printf("%ld\n", served);
    else
        puts("what?");
    fflush(stdout);
}

static void answer(modbus_t *ctx, modbus_mapping_t *map, const uint8_t *query, int length)
{
    int function = query[modbus_get_header_length(ctx)];

    served++;
    if (delay_ms)
        usleep((useconds_t) delay_ms * 1000);
    if (failing[function])
        modbus_reply_exception(ctx, query, (unsigned) failing[function]);
    else
        modbus_reply(ctx, query, length, map);
}

int main(int argc, char **argv)
{
    static char line[LINE];
    static uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int rtu = argc > 1 && *argv[1] == '/';
    modbus_t *ctx = rtu ? modbus_new_rtu(argv[1], 115200, 'N', 8, 1)
                        : modbus_new_tcp("127.0.0.1", argc > 1 ? atoi(argv[1]) : 0);
    modbus_mapping_t *map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
    struct sockaddr_in name;
    socklen_t name_length = sizeof name;
    fd_set all, ready;
    int listener, most;

    if (rtu && ctx && map && modbus_set_slave(ctx, 1) == 0 && modbus_connect(ctx) == 0) {
        listener = -1; /* the terminal is the one connection there is */
        puts("0");
    } else if (!rtu && ctx && map && (listener = modbus_tcp_listen(ctx, 5)) >= 0) {
        getsockname(listener, (struct sockaddr *) &name, &name_length);
        printf("%d\n", ntohs(name.sin_port));
    } else {
        fprintf(stderr, "cannot listen: %s\n", modbus_strerror(errno));
        return 1;
    }
    fflush(stdout);
    setvbuf(stdin, NULL, _IONBF, 0); /* or a second line would wait in the buffer, unseen by select */

    FD_ZERO(&all);
    FD_SET(STDIN_FILENO, &all);
    most = rtu ? modbus_get_socket(ctx) : listener;
    FD_SET(most, &all);
    for (;;) {
        ready = all;
        if (select(most + 1, &ready, NULL, NULL, NULL) < 0)
            return 1;
        if (FD_ISSET(STDIN_FILENO, &ready)) {
            if (!fgets(line, sizeof line, stdin))
                return 0;
            obey(map, line);
        }
        for (int fd = STDIN_FILENO + 1; fd <= most; fd++) {
            if (!FD_ISSET(fd, &ready))
                continue;
            if (fd == listener) {
                int client = accept(listener, NULL, NULL);
                if (client >= 0) {
                    FD_SET(client, &all);
                    most = client > most ? client : most;
                }
                continue;
            }
            if (!rtu)
                modbus_set_socket(ctx, fd);
            int length = modbus_receive(ctx, query);
            if (length > 0)
                answer(ctx, map, query, length);
            else if (length < 0 && !rtu) {
                close(fd);
                FD_CLR(fd, &all);
            }
        }
    }
}
