// One lane of the output path: RND*(v, shift) in five modes, then the clamp. v at the inputs in cycle 0, results in cycle 5.
//
// The value is shifted by shift - 1 places with the bits lost ORed together, then by one more; that last bit (half) and the OR
// of the others (rest) decide whether 1 is added to the floor: the modes differ in nothing else.
`default_nettype none

module jb_requantise (
  input  wire logic        clk_i,
  // stable while values are under way
  input  wire logic [5:0]  shift_i,      // 0..47
  input  wire logic [2:0]  rounding_i,   // 0 half up, 1 half even, 2 half away, 3 toward zero, 4 floor
  input  wire logic        relu_i,       // clamp to 0..255, else to +-32767
  input  wire logic [47:0] value_i,
  output      logic [47:0] wide_o,       // before the clamp
  output      logic [15:0] value_o,
  output      logic        saturated_o   // it was clamped, but not by relu's zero
);
  logic [5:0] places;
  logic [47:0] coarse_d, middle_d, fine_d, coarse_q, middle_q, fine_q, round_q, floor;
  logic coarse_rest_d, middle_rest_d, fine_rest_d, coarse_rest_q, middle_rest_q, fine_rest_q;
  logic half, more;

  assign places = shift_i == '0 ? '0 : shift_i - 6'd1;

  always_comb begin
    unique case (places[5:4])
      2'd0: coarse_d = value_i;
      2'd1: coarse_d = {{16{value_i[47]}}, value_i[47:16]};
      default: coarse_d = {{32{value_i[47]}}, value_i[47:32]};
    endcase
    coarse_rest_d = (places[5:4] != 2'd0 && value_i[15:0] != '0) || (places[5] && value_i[31:16] != '0);
    unique case (places[3:2])
      2'd0: middle_d = coarse_q;
      2'd1: middle_d = {{4{coarse_q[47]}}, coarse_q[47:4]};
      2'd2: middle_d = {{8{coarse_q[47]}}, coarse_q[47:8]};
      default: middle_d = {{12{coarse_q[47]}}, coarse_q[47:12]};
    endcase
    middle_rest_d = coarse_rest_q || (places[3:2] != 2'd0 && coarse_q[3:0] != '0) || (places[3] && coarse_q[7:4] != '0)
                    || (places[3:2] == 2'd3 && coarse_q[11:8] != '0);
    unique case (places[1:0])
      2'd0: fine_d = middle_q;
      2'd1: fine_d = {middle_q[47], middle_q[47:1]};
      2'd2: fine_d = {{2{middle_q[47]}}, middle_q[47:2]};
      default: fine_d = {{3{middle_q[47]}}, middle_q[47:3]};
    endcase
    fine_rest_d = middle_rest_q || (places[1:0] != 2'd0 && middle_q[0]) || (places[1] && middle_q[1])
                  || (places[1:0] == 2'd3 && middle_q[2]);
  end

  assign floor = shift_i == '0 ? fine_q : {fine_q[47], fine_q[47:1]};
  assign half  = fine_q[0] && shift_i != '0;

  always_comb begin
    unique case (rounding_i)
      3'd0: more = half;
      3'd1: more = half && (fine_rest_q || floor[0]);
      3'd2: more = half && (fine_rest_q || !fine_q[47]);
      3'd3: more = fine_q[47] && (half || fine_rest_q);
      default: more = 1'b0;
    endcase
  end

  logic above, below, narrow;

  // within 16 bits, and not -32768
  assign narrow = round_q[47:15] == '0 || (round_q[47:15] == '1 && round_q[14:0] != '0);
  assign above = !round_q[47] && (relu_i ? round_q[46:8] != '0 : !narrow);
  assign below = round_q[47] && (relu_i || !narrow);

  always_ff @(posedge clk_i) begin
    coarse_q      <= coarse_d;
    coarse_rest_q <= coarse_rest_d;
    middle_q      <= middle_d;
    middle_rest_q <= middle_rest_d;
    fine_q        <= fine_d;
    fine_rest_q   <= fine_rest_d;
    round_q       <= floor + {47'd0, more};
    wide_o        <= round_q;
    saturated_o   <= above || (below && !relu_i);
    if (above) value_o <= relu_i ? 16'd255 : 16'h7fff;
    else if (below) value_o <= relu_i ? 16'd0 : 16'h8001;
    else value_o <= round_q[15:0];
  end
endmodule

`default_nettype wire
