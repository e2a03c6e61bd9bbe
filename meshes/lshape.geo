// An L: a square without its upper right quarter, so that waves bend around a corner that reaches inwards. Behind a
// slanted line to the right the material is slower. The zone is a tilted square in the upper arm.
// Named groups: outer (all of the boundary), zone, arm (the rest of the faster material), slow.
SetFactory("OpenCASCADE");
DefineConstant[ size = 0.03 ]; // wanted edge length

Point(1) = {-1, -1, 0};
Point(2) = {-0.2, -1, 0};
Point(3) = {1, -1, 0};
Point(4) = {1, 0, 0};
Point(5) = {0.1, 0, 0};
Point(6) = {0, 0, 0};
Point(7) = {0, 1, 0};
Point(8) = {-1, 1, 0};
Line(1) = {1, 2};
Line(2) = {2, 5};
Line(3) = {5, 6};
Line(4) = {6, 7};
Line(5) = {7, 8};
Line(6) = {8, 1};
Line(7) = {2, 3};
Line(8) = {3, 4};
Line(9) = {4, 5};
Curve Loop(1) = {1, 2, 3, 4, 5, 6};
Curve Loop(2) = {7, 8, 9, -2};
Plane Surface(1) = {1};
Plane Surface(2) = {2};
Rectangle(3) = {-0.65, 0.05, 0, 0.4, 0.4};
Rotate {{0, 0, 1}, {-0.45, 0.25, 0}, Pi/9} { Surface{3}; }
arm() = BooleanDifference{ Surface{1}; Delete; }{ Surface{3}; };
Coherence;

boundary() = CombinedBoundary{ Surface{:}; };
Physical Curve("outer") = {boundary()};
Physical Surface("arm") = {arm()};
Physical Surface("slow") = {2};
Physical Surface("zone") = {3};

Mesh.MeshSizeMin = size;
Mesh.MeshSizeMax = size;
