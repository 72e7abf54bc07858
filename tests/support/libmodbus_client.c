/* A Modbus master on libmodbus: one command from its arguments, the answer on standard output.
 *
 *   libmodbus_client PORT UNIT holding|input|coil|discrete ADDRESS COUNT     reads
 *   libmodbus_client PORT UNIT float ADDRESS                                 reads a float32, ABCD
 *   libmodbus_client PORT UNIT set-float ADDRESS VALUE                       writes one, FC16
 *   libmodbus_client PORT UNIT set-register ADDRESS VALUE                    FC6
 *   libmodbus_client PORT UNIT set-coil ADDRESS 0|1                          FC5
 *   libmodbus_client PORT UNIT set-coils ADDRESS 0|1 ...                     FC15
 *   libmodbus_client PORT UNIT mask ADDRESS AND OR                           FC22
 *   libmodbus_client PORT UNIT exchange ADDRESS VALUE                        FC23: writes one, reads it back
 *
 * In the place of PORT the path of a terminal may stand: then over RTU.
 * Exits with 0, or with 1 and libmodbus's text on standard error.
 */
#include <errno.h>
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not modbus_get_float_abcd and its kin: which order they mean differs between versions of libmodbus. */
static float to_float(const uint16_t *registers)
{
    uint32_t bits = (uint32_t)registers[0] << 16 | registers[1];
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static void from_float(float value, uint16_t *registers)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    registers[0] = (uint16_t)(bits >> 16);
    registers[1] = (uint16_t)bits;
}

static int run(modbus_t *master, const char *command, int address, int count, char **rest)
{
    uint16_t registers[MODBUS_MAX_READ_REGISTERS];
    uint8_t bits[MODBUS_MAX_READ_BITS];
    int done, i;

    if (!strcmp(command, "holding") || !strcmp(command, "input")) {
        done = *command == 'h' ? modbus_read_registers(master, address, atoi(rest[0]), registers)
                               : modbus_read_input_registers(master, address, atoi(rest[0]), registers);
        for (i = 0; i < done; i++)
            printf("%s%u", i ? " " : "", registers[i]);
    } else if (!strcmp(command, "coil") || !strcmp(command, "discrete")) {
        done = *command == 'c' ? modbus_read_bits(master, address, atoi(rest[0]), bits)
                               : modbus_read_input_bits(master, address, atoi(rest[0]), bits);
        for (i = 0; i < done; i++)
            printf("%s%u", i ? " " : "", bits[i]);
    } else if (!strcmp(command, "float")) {
        done = modbus_read_registers(master, address, 2, registers);
        if (done == 2)
            printf("%g", to_float(registers));
    } else if (!strcmp(command, "set-float")) {
        from_float((float)atof(rest[0]), registers);
        done = modbus_write_registers(master, address, 2, registers);
    } else if (!strcmp(command, "set-register")) {
        done = modbus_write_register(master, address, (uint16_t)atoi(rest[0]));
    } else if (!strcmp(command, "set-coil")) {
        done = modbus_write_bit(master, address, atoi(rest[0]));
    } else if (!strcmp(command, "set-coils")) {
        for (i = 0; i < count; i++)
            bits[i] = (uint8_t)atoi(rest[i]);
        done = modbus_write_bits(master, address, count, bits);
    } else if (!strcmp(command, "mask")) {
        done = modbus_mask_write_register(master, address, (uint16_t)atoi(rest[0]), (uint16_t)atoi(rest[1]));
    } else if (!strcmp(command, "exchange")) {
        uint16_t value = (uint16_t)atoi(rest[0]);
        done = modbus_write_and_read_registers(master, address, 1, &value, address, 1, registers);
        if (done == 1)
            printf("%u", registers[0]);
    } else {
        errno = EINVAL;
        done = -1;
    }
    printf("\n");
    return done;
}

int main(int argc, char **argv)
{
    modbus_t *master;
    int done = -1;

    if (argc < 5) {
        fprintf(stderr, "usage: libmodbus_client PORT UNIT COMMAND ADDRESS ...\n");
        return 2;
    }
    master = *argv[1] == '/' ? modbus_new_rtu(argv[1], 115200, 'N', 8, 1)
                            : modbus_new_tcp("127.0.0.1", atoi(argv[1]));
    if (master == NULL)
        return 2;
    modbus_set_slave(master, atoi(argv[2]));
    modbus_set_response_timeout(master, 10, 0);
    if (modbus_connect(master) == 0)
        done = run(master, argv[3], atoi(argv[4]), argc - 5, argv + 5);
    if (done == -1)
        fprintf(stderr, "%s\n", modbus_strerror(errno));
    modbus_close(master);
    modbus_free(master);
    return done == -1;
}
