// Which of the numbers first, first + 1, .. first + Count - 1 lie in 0 .. limit - 1: one subtraction for all of them.
`default_nettype none

module jb_feature_inside #(
  parameter int Count = 3  // at most 4
) (
  input  wire logic [17:0]      first_i,  // signed
  input  wire logic [15:0]      limit_i,
  output      logic [Count-1:0] inside_o
);
  logic [17:0] left;  // limit - first
  logic many;

  assign left = {2'b00, limit_i} - first_i;
  assign many = !left[17] && left[16:2] != '0;

  for (genvar n = 0; n < Count; n++) begin : g_number
    logic below, reaches;  // below limit; not below zero

    assign below       = many || (!left[17] && 3'(left[1:0]) + 3'(3 - n) >= 3'd4);
    assign reaches     = !first_i[17] || (first_i[16:2] == '1 && 3'(first_i[1:0]) + 3'(n) >= 3'd4);
    assign inside_o[n] = below && reaches;
  end
endmodule

`default_nettype wire
