// In place of the multiplier in fv_mac: both factors side by side. What is the same with this product is the same with any.
(* techmap_celltype = "$mul" *)
module fv_mac_product (A, B, Y);
  parameter A_SIGNED = 1;
  parameter B_SIGNED = 1;
  parameter A_WIDTH = 25;
  parameter B_WIDTH = 18;
  parameter Y_WIDTH = 43;
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  output [Y_WIDTH-1:0] Y;

  wire _TECHMAP_FAIL_ = Y_WIDTH != 43 || A_WIDTH < 25 || B_WIDTH < 18;

  assign Y = {A[24:0], B[17:0]};
endmodule
