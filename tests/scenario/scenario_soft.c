/* SPDX-License-Identifier: MIT
 *
 * scenario-soft - scenarios on the engine over the software MMU: every geometry, any number of frames, hardware with
 * and without young and dirty bits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenario/soft.h"

static const struct {
	const char *word;
	unsigned caps;
} caps[] = {
	{ "young", MACHINE_YOUNG }, { "dirty", MACHINE_DIRTY },         { "readonly", MACHINE_READONLY },
	{ "alias", MACHINE_ALIAS }, { "zero-page", MACHINE_ZERO_PAGE },
};

/* "young,dirty,..." => false: an unknown word */
static bool parse_caps(char *list, unsigned *out)
{
	char *save = NULL;

	*out = 0;
	for (char *w = strtok_r(list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		unsigned found = 0;

		for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
			if (!strcmp(w, caps[i].word))
				found = caps[i].caps;
		if (!found)
			return false;
		*out |= found;
	}
	return true;
}

static int usage(void)
{
	fprintf(stderr, "usage: scenario-soft [--arch i386|arm|x86_64|x86_64-5|sv39|sv48] [--frames N]\n"
			"                     [--caps young,dirty,readonly,alias,zero-page] [--tap] [--strict] "
			"[--no-counts] [-v]\n"
			"                     FILE|DIRECTORY...\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct soft_params p = SOFT_DEFAULTS;
	struct scn_main_params params = { .machine = &soft_machine };
	char name[64];
	int i, status;

	for (i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--arch"))
			p.arch = argv[i + 1];
		else if (!strcmp(argv[i], "--frames"))
			p.nr_frames = strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--caps"))
			break;
		else if (!parse_caps(argv[i + 1], &p.caps))
			return usage();
	}
	params.ctx = soft_create(&p);
	if (!params.ctx) {
		fprintf(stderr, "scenario-soft: --arch %s: no such geometry\n", p.arch);
		return usage();
	}
	snprintf(name, sizeof(name), "soft %s%s", p.arch, p.caps == SOFT_ALL_CAPS ? "" : " (fewer capabilities)");
	params.name = name;
	status = scn_main(&params, argc, argv, i);
	soft_destroy(params.ctx);
	return status;
}
