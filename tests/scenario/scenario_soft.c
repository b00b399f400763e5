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

static bool parse_rule(const char *word, unsigned *rules)
{
	static const struct { const char *word; unsigned rule; } all[] = {
		{ "5.4", MM_REUSE_5_4 }, { "5.15", MM_REUSE_5_15 }, { "6", MM_REUSE_6 }, { "page-cache", MM_2_0_PAGE_CACHE },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!strcmp(word, all[i].word)) {
			*rules |= all[i].rule;
			return true;
		}
	}
	return false;
}

static int usage(void)
{
	fprintf(stderr, "usage: scenario-soft [--kernel 5|2.6|2.0] [--rule 5.4|5.15|6|page-cache]\n"
			"                     [--arch i386|i386-pae|arm|x86_64|x86_64-5|sv39|sv48|process] [--frames N]\n"
			"                     [--caps young,dirty,readonly,alias,zero-page] [--tap] [--strict] "
			"[--no-counts] [-v]\n"
			"                     FILE|DIRECTORY...\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct soft_params p = SOFT_DEFAULTS;
	struct scn_main_params params = { 0 };
	char name[64];
	int i, status;

	for (i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--arch"))
			p.arch = argv[i + 1];
		else if (!strcmp(argv[i], "--kernel"))
			p.kernel = argv[i + 1];
		else if (!strcmp(argv[i], "--frames"))
			p.nr_frames = strtoul(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--rule") && parse_rule(argv[i + 1], &p.rules))
			continue;
		else if (strcmp(argv[i], "--caps"))
			break;
		else if (!parse_caps(argv[i + 1], &p.caps))
			return usage();
	}
	if (p.kernel && strcmp(p.kernel, "5") && strcmp(p.kernel, "2.6") && strcmp(p.kernel, "2.0"))
		return usage();
	params.ctx = soft_create(&p);
	if (!params.ctx) {
		fprintf(stderr, "scenario-soft: --arch %s: no such geometry\n", p.arch);
		return usage();
	}
	params.machine = soft_machine_of(params.ctx);
	snprintf(name, sizeof(name), "soft %s%s%s%s", p.kernel ? p.kernel : "", p.kernel ? " " : "", p.arch, p.caps == SOFT_ALL_CAPS ? "" : " (fewer capabilities)");
	params.name = name;
	status = scn_main(&params, argc, argv, i);
	soft_destroy(params.ctx);
	return status;
}
