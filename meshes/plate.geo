// A square plate with a round hole, a round inclusion of another material, and a tilted square zone whose boundary
// crosses the inclusion. Named groups: outer (all of the boundary), zone and zone-inclusion (the zone), inclusion, plate.
SetFactory("OpenCASCADE");
DefineConstant[ size = 0.05 ]; // wanted edge length

Rectangle(1) = {-1, -1, 0, 2, 2};
Disk(2) = {-0.55, 0.5, 0, 0.15};
Rectangle(3) = {-0.3, -0.3, 0, 0.6, 0.6};
Rotate {{0, 0, 1}, {0, 0, 0}, Pi/9} { Surface{3}; }
Disk(4) = {0.3, 0.1, 0, 0.15};

inclusion_in_zone() = BooleanIntersection{ Surface{3}; }{ Surface{4}; };
rest_of_zone() = BooleanDifference{ Surface{3}; }{ Surface{4}; };
rest_of_inclusion() = BooleanDifference{ Surface{4}; }{ Surface{3}; };
plate() = BooleanDifference{ Surface{1}; Delete; }{ Surface{2}; Surface{3}; Surface{4}; };
Recursive Delete{ Surface{2}; Surface{3}; Surface{4}; }
Coherence;

boundary() = CombinedBoundary{ Surface{:}; };
Physical Curve("outer") = {boundary()};
Physical Surface("plate") = {plate()};
Physical Surface("inclusion") = {rest_of_inclusion()};
Physical Surface("zone") = {rest_of_zone()};
Physical Surface("zone-inclusion") = {inclusion_in_zone()};

Mesh.MeshSizeMin = size;
Mesh.MeshSizeMax = size;
