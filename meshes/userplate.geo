// An aluminium plate of 0.4 m x 0.3 m with a hole of 30 mm and a weld line 10 mm wide; the zone is a square of 40 mm.
// Named groups: outer (all of the boundary, the hole's too), zone, weld, plate.
SetFactory("OpenCASCADE");
DefineConstant[ size = 0.004 ]; // wanted edge length, m

Rectangle(1) = {0, 0, 0, 0.4, 0.3};
Disk(2) = {0.28, 0.22, 0, 0.015};
Rectangle(3) = {0.20, 0, 0, 0.010, 0.3};    // weld
Rectangle(4) = {0.26, 0.08, 0, 0.04, 0.04}; // zone
plate() = BooleanDifference{ Surface{1}; Delete; }{ Surface{2}; Surface{3}; Surface{4}; };
Recursive Delete{ Surface{2}; }
Coherence;

boundary() = CombinedBoundary{ Surface{:}; };
Physical Curve("outer") = {boundary()};
Physical Surface("plate") = {plate()};
Physical Surface("weld") = {3};
Physical Surface("zone") = {4};

Mesh.MeshSizeMin = size;
Mesh.MeshSizeMax = size;
