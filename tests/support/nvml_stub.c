/* A libnvidia-ml.so.1 for machines without a card. It answers from the text file that NVML_STUB names, read anew by
 * every call, so that a test can take a card away from a worker that runs. Its lines (memory in MiB):
 *
 *     gpu UUID ARCHITECTURE MIG TOTAL RESERVED USED NAME...     RESERVED by the driver, USED by others
 *     compute UUID PID USED
 *     graphics UUID PID USED     USED is -1 where the driver does not tell
 *     fail FUNCTION CODE
 *
 * As in a container, NVIDIA_VISIBLE_DEVICES says which of the cards are seen. Structs are laid out as in nvml.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_FOUND = 6, TOO_SMALL = 7, NO_DRIVER = 9, GPU_LOST = 15, UNKNOWN = 999 };
enum { MAX_GPUS = 16, MAX_PROCESSES = 64, MIB = 1 << 20 };

typedef struct { char uuid[96], name[96]; unsigned architecture, mig; unsigned long long total, reserved, used; } gpu_t;
typedef struct { char kind[16], uuid[96]; unsigned pid; long long used; } process_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process_info_t;

/* One machine as the file describes it now. A device's handle is its place in `gpus`, plus one so that none is NULL. */
typedef struct { gpu_t gpus[MAX_GPUS]; process_t processes[MAX_PROCESSES]; unsigned gpu_count, process_count; int failure; } machine_t;

static int initialised;

static void read_line(machine_t *machine, const char *function, const char *line)
{
    gpu_t *gpu = &machine->gpus[machine->gpu_count];
    process_t *process = &machine->processes[machine->process_count];
    char failing[96];
    int code;

    if (machine->gpu_count < MAX_GPUS && sscanf(line, "gpu %95s %u %u %llu %llu %llu %95[^\n]", gpu->uuid, &gpu->architecture,
                                                &gpu->mig, &gpu->total, &gpu->reserved, &gpu->used, gpu->name) == 7)
        machine->gpu_count++;
    else if (machine->process_count < MAX_PROCESSES &&
             sscanf(line, "%15s %95s %u %lld", process->kind, process->uuid, &process->pid, &process->used) == 4 &&
             (strcmp(process->kind, "compute") == 0 || strcmp(process->kind, "graphics") == 0))
        machine->process_count++;
    else if (sscanf(line, "fail %95s %d", failing, &code) == 2 && strcmp(failing, function) == 0)
        machine->failure = code;
}

static int read_machine(machine_t *machine, const char *function)
{
    const char *path = getenv("NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];

    memset(machine, 0, sizeof *machine);
    if (!file)
        return NO_DRIVER;
    while (fgets(line, sizeof line, file))
        read_line(machine, function, line);
    fclose(file);
    return machine->failure;
}

/* Every entry point but Init begins with this. */
static int enter(machine_t *machine, const char *function)
{
    return initialised ? read_machine(machine, function) : UNINITIALIZED;
}

static int visible(const machine_t *machine, unsigned gpu)
{
    const char *wanted = getenv("NVIDIA_VISIBLE_DEVICES");
    char list[1024], *rest = list, *word, index[16];

    if (!wanted || strcmp(wanted, "all") == 0)
        return 1;
    snprintf(list, sizeof list, "%s", wanted);
    snprintf(index, sizeof index, "%u", gpu);
    while ((word = strsep(&rest, ",")))
        if (strcmp(word, index) == 0 || strcmp(word, machine->gpus[gpu].uuid) == 0)
            return 1;
    return 0;
}

/* The visible cards in order; returns how many. */
static unsigned visible_gpus(const machine_t *machine, unsigned gpus[MAX_GPUS])
{
    unsigned count = 0;
    for (unsigned gpu = 0; gpu < machine->gpu_count; gpu++)
        if (visible(machine, gpu))
            gpus[count++] = gpu;
    return count;
}

/* Finds the card behind a handle; one that was there and is not any more has fallen off the bus. */
static int find(machine_t *machine, const char *function, void *device, gpu_t **gpu)
{
    size_t place = (size_t)device;
    int code = enter(machine, function);
    if (code != OK)
        return code;
    if (place == 0)
        return INVALID_ARGUMENT;
    if (place > machine->gpu_count)
        return GPU_LOST;
    *gpu = &machine->gpus[place - 1];
    return OK;
}

static int copy(char *to, unsigned size, const char *from)
{
    if (strlen(from) >= size)
        return TOO_SMALL;
    strcpy(to, from);
    return OK;
}

int nvmlInitWithFlags(unsigned flags)
{
    machine_t machine;
    const char *wanted = getenv("NVIDIA_VISIBLE_DEVICES");
    int code = wanted && strcmp(wanted, "void") == 0 ? NO_DRIVER : read_machine(&machine, "nvmlInit");
    (void)flags;
    if (code == OK)
        initialised++;
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void)
{
    if (!initialised)
        return UNINITIALIZED;
    initialised--;
    return OK;
}

const char *nvmlErrorString(int code)
{
    switch (code) {
    case OK: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_FOUND: return "Not Found";
    case TOO_SMALL: return "Insufficient Size";
    case NO_DRIVER: return "Driver Not Loaded";
    case GPU_LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned size)
{
    machine_t machine;
    int code = enter(&machine, __func__);
    return code == OK ? copy(version, size, "550.54.15") : code;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    machine_t machine;
    unsigned gpus[MAX_GPUS];
    int code = enter(&machine, "nvmlDeviceGetCount");
    if (code == OK)
        *count = visible_gpus(&machine, gpus);
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    machine_t machine;
    unsigned gpus[MAX_GPUS];
    int code = enter(&machine, "nvmlDeviceGetHandleByIndex");
    if (code == OK && index >= visible_gpus(&machine, gpus))
        code = INVALID_ARGUMENT;
    if (code == OK)
        *device = (void *)(size_t)(gpus[index] + 1);
    return code;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
    machine_t machine;
    int code = enter(&machine, __func__);
    if (code != OK)
        return code;
    for (unsigned gpu = 0; gpu < machine.gpu_count; gpu++)
        if (visible(&machine, gpu) && strcmp(machine.gpus[gpu].uuid, uuid) == 0) {
            *device = (void *)(size_t)(gpu + 1);
            return OK;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetIndex(void *device, unsigned *index)
{
    machine_t machine;
    gpu_t *gpu;
    unsigned gpus[MAX_GPUS];
    int code = find(&machine, __func__, device, &gpu);
    if (code != OK)
        return code;
    for (unsigned place = visible_gpus(&machine, gpus); place-- > 0;)
        if (&machine.gpus[gpus[place]] == gpu) {
            *index = place;
            return OK;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetMinorNumber(void *device, unsigned *minor)
{
    machine_t machine;
    gpu_t *gpu;
    int code = find(&machine, __func__, device, &gpu);
    if (code == OK)
        *minor = (unsigned)(gpu - machine.gpus);
    return code;
}

int nvmlDeviceGetName(void *device, char *name, unsigned size)
{
    machine_t machine;
    gpu_t *gpu;
    int code = find(&machine, __func__, device, &gpu);
    return code == OK ? copy(name, size, gpu->name) : code;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned size)
{
    machine_t machine;
    gpu_t *gpu;
    int code = find(&machine, __func__, device, &gpu);
    return code == OK ? copy(uuid, size, gpu->uuid) : code;
}

int nvmlDeviceGetArchitecture(void *device, unsigned *architecture)
{
    machine_t machine;
    gpu_t *gpu;
    int code = find(&machine, __func__, device, &gpu);
    if (code == OK)
        *architecture = gpu->architecture;
    return code;
}

int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory)
{
    machine_t machine;
    gpu_t *gpu;
    int code = find(&machine, __func__, device, &gpu);
    if (code == OK)
        *memory = (memory_t){gpu->total * MIB, (gpu->total - gpu->reserved - gpu->used) * MIB,
                             (gpu->reserved + gpu->used) * MIB};
    return code;
}

/* Here, and only here, what the driver keeps for itself is told apart. */
int nvmlDeviceGetMemoryInfo_v2(void *device, memory_v2_t *memory)
{
    machine_t machine;
    gpu_t *gpu;
    memory_t plain;
    int code = find(&machine, __func__, device, &gpu);
    if (code == OK)
        code = nvmlDeviceGetMemoryInfo(device, &plain);
    if (code == OK)
        *memory = (memory_v2_t){memory->version, plain.total, gpu->reserved * MIB, plain.free, gpu->used * MIB};
    return code;
}

int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending)
{
    machine_t machine;
    gpu_t *gpu;
    int code = find(&machine, __func__, device, &gpu);
    if (code == OK)
        *current = *pending = gpu->mig;
    return code;
}

/* As NVML does: `count` is the room there is in `infos` and becomes the number there are. */
static int processes(void *device, const char *function, const char *kind, unsigned *count, process_info_t *infos)
{
    machine_t machine;
    gpu_t *gpu;
    unsigned found = 0, room = infos ? *count : 0;
    int code = find(&machine, function, device, &gpu);
    if (code != OK)
        return code;
    for (unsigned i = 0; i < machine.process_count; i++) {
        process_t *each = &machine.processes[i];
        if (strcmp(each->uuid, gpu->uuid) != 0 || strcmp(each->kind, kind) != 0)
            continue;
        unsigned long long used = each->used;
        if (found < room)
            infos[found] = (process_info_t){each->pid, each->used < 0 ? used : used * MIB, ~0u, ~0u};
        found++;
    }
    *count = found;
    return found > room ? TOO_SMALL : OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, process_info_t *infos)
{
    return processes(device, "nvmlDeviceGetComputeRunningProcesses", "compute", count, infos);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned *count, process_info_t *infos)
{
    return processes(device, "nvmlDeviceGetGraphicsRunningProcesses", "graphics", count, infos);
}
