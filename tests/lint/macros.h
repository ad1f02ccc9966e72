/* For cppcheck alone, which does not read the system's headers: the loops that are macros there. */
#define fdt_for_each_subnode(node, fdt, parent) for ((node) = 0; (node) < 9; (node)++)
